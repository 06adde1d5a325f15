"""Taking, renewing and suspecting routes on PostgreSQL: judged by the database's clock, under the route's row lock."""

from typing import Any

from onefill.core.audit import GENESIS, entry_hash
from onefill.core.errors import Fenced, LeaseHeld, LedgerFailed, OtherVenue, require
from onefill.core.events import RouteAcquired
from onefill.core.identity import session_tag
from onefill.core.lease import Held, may_take
from onefill.core.spread import HandOverAsked
from onefill.ledger import postgres_text as text
from onefill.ledger import sqlite_rows as rows
from onefill.ledger.postgres_days import ADD_DAY, DAYS, day_of
from onefill.ledger.postgres_write import Head
from onefill.ports.ledger import INTENT_NUMBER_BITS, Lease

_TRIES = 20
_FOUND = (
    f"SELECT id, epoch, last_number, last_sequence, last_execution, head, venue, holder, lease_until_us, {DAYS} FROM route "
    "WHERE name = $1 FOR UPDATE"
)
_FIRST = (
    "INSERT INTO route (id, name, epoch, holder, acquired_at_us, head) "
    "SELECT coalesce(max(id), 0) + 1, $1, 1, $2, $3, $4 FROM route ON CONFLICT DO NOTHING RETURNING id"
)
_JOURNAL = (
    "INSERT INTO journal (id, kind, payload, at_us, epoch, previous_hash, hash, day) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
)
_SUSPECT = (
    "WITH named AS (SELECT id FROM route WHERE name = $1), made AS ("
    "INSERT INTO suspicion (route, number, epoch, holder, at_us, reason) "
    "SELECT id, 1 + coalesce((SELECT max(number) FROM suspicion WHERE route = named.id), 0), $2, $3, $4, $5 FROM named "
    "ON CONFLICT DO NOTHING RETURNING 1) SELECT (SELECT count(*) FROM named), (SELECT count(*) FROM made)"
)
_TAKE = (
    "UPDATE route SET epoch = $2, holder = $3, acquired_at_us = $4, last_sequence = $5, head = $6, venue = $7, "
    "lease_until_us = now_us() + $8::bigint WHERE id = $1"
)


async def take(
    connection: Any, route: str, holder: str, at_us: int, venue: str, lease_us: int | None
) -> tuple[Lease, Head]:
    """Make ``holder`` the route's owner, as part of the caller's transaction. See the port's ``acquire``."""
    name, payload = text.stored(route), rows.json_text([RouteAcquired(holder)])
    found = await connection.fetchrow(_FOUND, name)
    for _ in range(_TRIES):
        if found is not None:
            break
        # Two gateways may make their first routes at once: whoever loses the number looks again.
        made = await connection.fetchval(_FIRST, name, text.stored(holder), at_us, GENESIS)
        found = None if made is None else (made, 0, 0, 0, 0, GENESIS, "", "", None, None, None)
        found = found or await connection.fetchrow(_FOUND, name)
    require(found is not None, f"route {route!r}: no number was free for it")
    route_id, epoch, last_number, sequence, last_execution, head, known_venue, known_holder, until_us, *days = found
    if until_us is not None:
        now_us = int(await connection.fetchval("SELECT now_us()"))
        if not may_take(Held(known_holder, epoch, until_us), now_us):
            raise LeaseHeld(route, text.shown(known_holder), (until_us - now_us) / 1_000_000)
    if venue and known_venue and venue != text.shown(known_venue):
        raise OtherVenue(route)
    epoch, sequence = epoch + 1, sequence + 1
    made = entry_hash(head, route, sequence, None, "route_acquired", payload, at_us, epoch)
    id_ = (route_id << INTENT_NUMBER_BITS) | sequence
    day = day_of(at_us, *days)
    if day != days[0]:
        await connection.execute(ADD_DAY, route_id, day, sequence)
    await connection.execute(_JOURNAL, id_, "route_acquired", text.stored(payload), at_us, epoch, head, made, day)
    venue = text.stored(venue) or known_venue
    await connection.execute(_TAKE, route_id, epoch, text.stored(holder), at_us, sequence, made, venue, lease_us)
    await connection.execute("DELETE FROM hand_over WHERE route = $1", route_id)
    seed = await connection.fetchval("SELECT seed FROM ledger")
    lease = Lease(
        route=route,
        route_id=route_id,
        epoch=epoch,
        session=session_tag(seed, route, epoch),
        last_number=last_number,
    )
    return lease, Head(route_id, epoch, sequence, made, last_number, last_execution, day, days[1])


async def renew(connection: Any, route: str, epoch: int, lease_us: int) -> None:
    """Lend a route on, or give it back. Raises Fenced if a later owner has it."""
    # Given back, it is not lent for a time: the next owner need not wait.
    done = await connection.fetchval(
        "UPDATE route SET lease_until_us = now_us() + $3::bigint WHERE name = $1 AND epoch = $2 RETURNING id",
        text.stored(route),
        epoch,
        lease_us if lease_us > 0 else None,
    )
    if done is None:
        current = await connection.fetchval("SELECT epoch FROM route WHERE name = $1", text.stored(route))
        raise Fenced(route, epoch, current)


async def suspect(connection: Any, route: str, epoch: int, holder: str, at_us: int, reason: str) -> None:
    """Note that a route may have two holders, under the next number."""
    given = (text.stored(route), epoch, text.stored(holder), at_us, text.stored(reason))
    for _ in range(_TRIES):
        # Two who suspect at once get the same number: one of them asks again.
        found = await connection.fetchrow(_SUSPECT, *given)
        if found is None or found[0] == found[1]:
            return
    raise LedgerFailed(f"route {route!r}: no number was free for a suspicion; it was not noted")


async def ask_hand_over(connection: Any, route: str, asked: HandOverAsked) -> None:
    """Note the wish that a route is handed over, in place of an earlier one."""
    await connection.execute(
        "INSERT INTO hand_over (route, node, asked_by, at_us) SELECT id, $2, $3, $4 FROM route WHERE name = $1 "
        "ON CONFLICT (route) DO UPDATE SET node = excluded.node, asked_by = excluded.asked_by, at_us = excluded.at_us",
        text.stored(route),
        None if asked.to is None else text.stored(asked.to),
        text.stored(asked.by),
        asked.at_us,
    )
