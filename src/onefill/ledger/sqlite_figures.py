"""Sums over a whole ledger file, for people who ask what it shows. Each is one pass over a table."""

import apsw
import msgspec

from onefill.ports.ledger import INTENT_NUMBER_BITS


class RouteSums(msgspec.Struct, kw_only=True):
    """What the ledger holds of one route."""

    route: str
    route_id: int
    orders: dict[str, int] = {}
    """By status."""
    parked: int = 0
    copies: dict[str, int] = {}
    """Copies of new orders, by outcome; ``claimed``: none is known."""
    attempts: dict[int, int] = {}
    """How many orders had so many copies."""
    executions: int = 0
    quarantined: int = 0


def sums(db: apsw.Connection) -> list[RouteSums]:
    """Return what the ledger holds, by route."""
    found = {
        number: RouteSums(route=name, route_id=number) for number, name in db.execute("SELECT id, name FROM route")
    }
    route = f">> {INTENT_NUMBER_BITS}"
    for number, status, parked, count in db.execute(
        f"SELECT id {route}, status, sum(parked), count(*) FROM intent GROUP BY 1, 2"
    ):
        found[number].orders[status] = count
        found[number].parked += parked
    for number, outcome, count in db.execute(
        f"SELECT intent_id {route}, coalesce(outcome, 'claimed'), count(*) FROM attempt WHERE kind = 0 GROUP BY 1, 2"
    ):
        found[number].copies[outcome] = count
    for number, copies, count in db.execute(
        f"SELECT intent_id {route}, copies, count(*) FROM (SELECT intent_id, count(*) AS copies FROM attempt WHERE kind = 0 "
        "GROUP BY intent_id) GROUP BY 1, 2"
    ):
        found[number].attempts[copies] = count
    for number, count, strange in db.execute(
        "SELECT route, count(*), sum(intent_id IS NULL) FROM execution GROUP BY route"
    ):
        found[number].executions, found[number].quarantined = count, strange
    return [found[number] for number in sorted(found)]
