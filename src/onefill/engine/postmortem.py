"""Collecting what a postmortem is made from: the journal around an incident, and the orders that it is about."""

import re

import msgspec

from onefill.core import events as ev
from onefill.core.audit import DAY_US, JournalEntry
from onefill.core.events import Event, RouteEvent
from onefill.core.incident import Incident
from onefill.core.order import Order
from onefill.core.postmortem import Facts
from onefill.ports.ledger import Ledger

_BEFORE_US = 300_000_000
"""So long before the incident was first seen the timeline begins."""
_PAGE = 1000
_MOST_READ = 50_000
_MOST_KEPT = 2000
_MOST_WORDS = 100
_WORD = re.compile(r"[^\s(),:;'\"]{4,64}")
_decode = msgspec.json.Decoder(list[Event | RouteEvent]).decode
_ALWAYS = ev.ControlMoved | ev.RouteAcquired | ev.PositionOpened
_OF_INCIDENT = (
    ev.IncidentOpened
    | ev.IncidentSeen
    | ev.IncidentConverged
    | ev.IncidentStepped
    | ev.IncidentResolved
    | ev.IncidentSnapshot
)


async def facts_of(ledger: Ledger, incident: Incident, now_us: int) -> Facts:
    """Return what the ledger has about an incident."""
    info = next((one for one in await ledger.routes() if one.name == incident.route), None)
    last = 0 if info is None else info.journal_entries
    from_us = (incident.first_seen_at_us or incident.opened_at_us) - _BEFORE_US
    orders = await _orders_named(ledger, incident)
    texts = " ".join((incident.subject, incident.summary, *incident.evidence))
    archived = None if info is None else info.archived
    after = await _before(ledger, incident.route, from_us, 0 if archived is None else archived.last, last)
    until = min(last, after + _MOST_READ)
    left_out, entries = last - until, list[JournalEntry]()
    while after < until and (page := await ledger.journal(incident.route, after, min(_PAGE, until - after))):
        for entry in page:
            if incident.resolved_at_us is not None and entry.at_us > incident.resolved_at_us:
                left_out, until = 0, after
                break
            if await _concerns(ledger, entry, incident, orders, texts):
                entries.append(entry)
        after = page[-1].sequence
    return Facts(
        incident=incident,
        written_at_us=now_us,
        entries=tuple(entries[:_MOST_KEPT]),
        orders=tuple(orders.values()),
        left_out=left_out + max(len(entries) - _MOST_KEPT, 0),
        archived=archived.file if archived is not None and from_us // DAY_US <= archived.day else None,
    )


async def _before(ledger: Ledger, route: str, at_us: int, first: int, last: int) -> int:
    """Return the last entry before a moment, not below ``first``, by halving: times ascend but for a clock that was set."""
    low, high = first, last
    while low < high:
        middle = (low + high) // 2
        page = await ledger.journal(route, middle, 1)
        if page and page[0].at_us < at_us:
            low = middle + 1
        else:
            high = middle
    return low


async def _orders_named(ledger: Ledger, incident: Incident) -> dict[int, Order]:
    """Return the orders whose client order ids stand in the incident's texts."""
    words = [incident.subject]
    for text in (incident.summary, *incident.evidence):
        words += _WORD.findall(text)
    found: dict[int, Order] = {}
    for word in list(dict.fromkeys(word for word in words if word))[:_MOST_WORDS]:
        loaded = await ledger.by_client_order_id(incident.route, word)
        if loaded is not None:
            found[loaded.order.intent_id] = loaded.order
    return found


async def _concerns(
    ledger: Ledger, entry: JournalEntry, incident: Incident, orders: dict[int, Order], texts: str
) -> bool:
    """Tell whether an entry has to do with the incident. The order in whose entry it was opened is one of its orders."""
    if entry.intent_id is not None and entry.intent_id in orders:
        return True
    if entry.intent_id is not None and '"incident_' not in entry.payload:
        return False
    try:
        events = _decode(entry.payload)
    except msgspec.DecodeError:
        return False
    own = any(isinstance(event, _OF_INCIDENT) and event.number == incident.number for event in events)
    if own and entry.intent_id is not None:
        page = await ledger.orders(entry.intent_id - 1, 1)
        orders.update((order.intent_id, order) for order in page)
    return own or any(
        isinstance(event, _ALWAYS) or (isinstance(event, ev.Quarantined) and event.execution_id in texts)
        for event in events
    )
