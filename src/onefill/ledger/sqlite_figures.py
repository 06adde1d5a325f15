"""Sums over a whole ledger file, for people who ask what it shows. Each is one pass over a table."""

import apsw

from onefill.ports.ledger import INTENT_NUMBER_BITS
from onefill.ports.ledger_browse import RouteSums


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
