"""How a new intent becomes an order and its first journal entry: claimed with it, or refused."""

import datetime as dt
import functools

import msgspec

from onefill.core import claims, identity, retry
from onefill.core import events as ev
from onefill.core.events import Event
from onefill.core.identity import IdScheme
from onefill.core.intent import FINGERPRINT_VERSION, Intent, canonical, fingerprint
from onefill.core.order import Order
from onefill.core.risk import Refusal
from onefill.engine.entry import Entry
from onefill.engine.route import Route
from onefill.engine.sender import leaves_by
from onefill.ports.ledger import NewIntent


def new_order(
    route: Route, intent: Intent, key: str, digest: bytes, live_s: float, refusal: Refusal | None
) -> tuple[Entry, tuple[Event, ...], NewIntent]:
    """Return the entry of an intent that is new here, in the route's memory from now on, and what is to be recorded of it."""
    now_us = route.clock.now_us()
    number = route.next_number()
    form = route.capabilities.id_format
    if route.settings.client_order_ids is IdScheme.DERIVED:
        client_order_id = identity.derived_id(intent.account, intent.strategy, key, form)
    else:
        day = _day(now_us // claims.DAY_US)
        client_order_id = identity.sequence_id(intent.strategy, day, route.lease.session, number, form)
    order = Order(
        intent_id=route.lease.intent_id(number),
        key=key,
        client_order_id=client_order_id,
        intent=intent,
        recorded_at_us=now_us,
        valid_until_us=now_us + int(live_s * 1_000_000),
    )
    entry = Entry(digest, order, route.loop.time() + live_s)
    route.add(entry)
    body = canonical(intent)
    events: tuple[Event, ...] = (ev.Recorded(key, client_order_id, msgspec.Raw(body), order.valid_until_us),)
    if refusal is not None:
        events += (ev.Refused(refusal.gate, refusal.reason),)
    elif not route.gate.degraded:  # else its driver claims it when its turn comes
        claim = retry.send(order, route.capabilities, now_us)
        events += (ev.Claimed(claim.number, route.bounded(claim.expires_at_us), leaves_by(route)),)
    new = NewIntent(
        key_digest=digest, fingerprint_version=FINGERPRINT_VERSION, fingerprint=fingerprint(body), body=body
    )
    return entry, events, new


@functools.lru_cache(maxsize=4)
def _day(number: int) -> str:
    return dt.datetime.fromtimestamp(number * claims.DAY_US / 1_000_000, dt.UTC).strftime("%Y%m%d")
