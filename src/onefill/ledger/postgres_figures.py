"""Sums over a whole PostgreSQL ledger, for people who ask what it shows. Each is one pass over a table."""

from onefill.ledger.postgres_read import Reader
from onefill.ports.ledger import INTENT_NUMBER_BITS
from onefill.ports.ledger_browse import RouteSums


async def sums(reader: Reader) -> list[RouteSums]:
    """Return what the ledger holds, by route."""
    found = {
        number: RouteSums(route=name, route_id=number)
        for number, name in await reader.fetch("SELECT id, name FROM route")
    }
    route = f">> {INTENT_NUMBER_BITS}"
    for number, status, parked, count in await reader.fetch(
        f"SELECT id {route}, status, sum(parked), count(*) FROM intent GROUP BY 1, 2"
    ):
        found[number].orders[status] = count
        found[number].parked += parked
    for number, outcome, count in await reader.fetch(
        f"SELECT intent_id {route}, coalesce(outcome, 'claimed'), count(*) FROM attempt WHERE kind = 0 GROUP BY 1, 2"
    ):
        found[number].copies[outcome] = count
    for number, copies, count in await reader.fetch(
        f"SELECT intent_id {route}, copies, count(*) FROM (SELECT intent_id, count(*) AS copies FROM attempt WHERE kind = 0 "
        "GROUP BY intent_id) AS each_one GROUP BY 1, 2"
    ):
        found[number].attempts[copies] = count
    for number, count, strange in await reader.fetch(
        "SELECT route, count(*), count(*) FILTER (WHERE intent_id IS NULL) FROM execution GROUP BY route"
    ):
        found[number].executions, found[number].quarantined = count, strange
    return [found[number] for number in sorted(found)]
