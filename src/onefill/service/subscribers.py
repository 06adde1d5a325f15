"""Subscribers while no gateway runs: how far each was told, and people's words about that, in the ledger alone."""

import datetime as dt
from collections.abc import Iterable

from onefill.core.errors import CallerError, InvalidField
from onefill.engine.offline import hold_route
from onefill.engine.settings import GatewaySettings
from onefill.engine.subscriptions import (
    Resume,
    Rewind,
    SubscriberStatus,
    Subscriptions,
    UnknownSubscriber,
    first_entry_from,
    status_of,
)
from onefill.ports.ledger_browse import BrowsableLedger
from onefill.service.ledgers import LedgerName
from onefill.service.wiring import SystemClock, holder, open_for_reading, open_to_sign


async def statuses(ledger: LedgerName, route: str | None = None) -> list[SubscriberStatus]:
    """Return how far each subscriber was told by the record. What only a running relay knows is ``None``."""
    async with open_for_reading(ledger) as store:
        heads = {info.name: info.journal_entries for info in await store.routes()}
        return [
            await status_of(store, one, heads[name])
            for name in _named(heads, route)
            for one in await store.subscriptions(name)
        ]


async def change(ledger: LedgerName, route: str | None, word: Resume | Rewind) -> list[SubscriberStatus]:
    """Take a person's word on a subscriber, of one route or of all that know it, and return how it is then.

    The routes are taken for that, so LedgerInUse or LeaseHeld while somebody else has one. Raises what the word does.
    """
    async with open_to_sign(ledger) as store:
        chosen = await _telling(store, word.subscriber, route)
        if len(chosen) > 1 and (isinstance(word, Rewind) or word.order is not None):
            raise InvalidField("--route", f"is one of: {', '.join(chosen)}; say which")
        held = []
        try:
            for name in chosen:
                held.append(await hold_route(name, store, SystemClock(), GatewaySettings(), holder()))
            return await Subscriptions(()).change(held, word.subscriber, word)
        finally:
            for one in held:
                await one.stop()


async def _telling(store: BrowsableLedger, subscriber: str, route: str | None) -> list[str]:
    """Return the routes of which a subscriber is told. Raises UnknownSubscriber or CallerError."""
    known = {info.name: await store.subscriptions(info.name) for info in await store.routes()}
    chosen = [name for name in _named(known, route) if any(one.subscriber == subscriber for one in known[name])]
    if not chosen:
        raise UnknownSubscriber(subscriber, [one.subscriber for kept in known.values() for one in kept])
    return chosen


async def position_of(ledger: LedgerName, subscriber: str, route: str | None, to: str) -> int:
    """Return behind which entry of a route's journal to tell from ``to`` on: an entry's number, or a time (ISO 8601).

    Raises UnknownSubscriber, InvalidField or CallerError.
    """
    if to.isascii() and to.isdigit():
        return int(to[:18])
    try:
        at = dt.datetime.fromisoformat(to)
    except ValueError:
        raise InvalidField(
            "--to", f"{to!r} is neither an entry's number nor a time such as 2026-01-31T09:30:00Z"
        ) from None
    if at.tzinfo is None:
        raise InvalidField("--to", f"{to!r} does not say in which time zone: write 2026-01-31T09:30:00Z or +02:00")
    async with open_for_reading(ledger) as store:
        chosen = await _telling(store, subscriber, route)
        if len(chosen) > 1:
            raise InvalidField("--route", f"is one of: {', '.join(chosen)}; say which")
        return await first_entry_from(store, chosen[0], round(at.timestamp() * 1_000_000))


def _named(known: Iterable[str], route: str | None) -> list[str]:
    known = list(known)
    if route is not None and route not in known:
        raise CallerError(
            f"{route!r} is no route of this ledger (there: {', '.join(known) or 'none'}). Nothing was changed"
        )
    return known if route is None else [route]
