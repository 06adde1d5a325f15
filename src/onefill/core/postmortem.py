"""The postmortem of an incident as a Markdown document: every fact that the ledger has, and room for what only people know.

Pure. What venues and callers wrote is escaped, so that it stays text wherever it stands.
"""

import datetime as dt
from collections.abc import Iterable, Iterator
from decimal import Decimal

import msgspec

from onefill.core import events as ev
from onefill.core.audit import JournalEntry
from onefill.core.control import ITSELF
from onefill.core.events import Event, RouteEvent
from onefill.core.incident import STEPS, Incident, Snapshot
from onefill.core.intent import from_canonical
from onefill.core.order import Order
from onefill.core.values import plain

MOST_LINES = 500
"""Lines of the timeline: the first ones."""
_SPECIAL = frozenset("\\`*_{}[]<>#|~&!@")
_decode = msgspec.json.Decoder(list[Event | RouteEvent]).decode
_HIDDEN = frozenset({"type", "intent", "snapshot", "evidence", "leaves_by_us"})


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a postmortem is made from. ``entries``: those of the journal that have to do with the incident, ascending.

    ``left_out``: entries that may have to do with it and were not looked at, because there were too many.
    """

    incident: Incident
    written_at_us: int
    entries: tuple[JournalEntry, ...] = ()
    orders: tuple[Order, ...] = ()
    left_out: int = 0
    archived: str | None = None
    """The last file of the archive that entries of its time are in; they are not among these."""


def document(facts: Facts) -> str:
    """Return the postmortem."""
    told = [(entry, event) for entry in facts.entries for event in _events(entry)]
    keys = {order.intent_id: order.key for order in facts.orders}
    parts = [
        *_head(facts),
        *_section("Figures", _figures(facts.incident)),
        *_section("Evidence", [f"- {escaped(line)}" for line in facts.incident.evidence] or ["None was kept."]),
        *_section("How things stood", _snapshot(facts.incident)),
        *_section("Timeline (UTC)", [*_timeline(told, keys, facts.left_out), *_archived(facts.archived)]),
        *_section("Orders concerned", _orders(facts.orders)),
        *_section("Executions", _executions(told, keys)),
        *_section("Control states", _controls(told)),
        *_section("Who did what", _people(told, keys)),
        *_section("Runbook", _runbook(facts.incident)),
        *_section("Cause", ["_To be written: why it could happen, and why it was not noticed earlier._"]),
        *_section(
            "What changes",
            [
                "_To be written: the specific control (timer, dedupe key, failover fencing ...), who changes it, by when._"
            ],
        ),
    ]
    return "\n".join(parts).rstrip() + "\n"


def escaped(text: str) -> str:
    """Return text as Markdown shows it as it is: on one line, nothing in it marks, links or embeds anything."""
    shown = []
    for char in " ".join(text.split()):
        if char in _SPECIAL:
            shown.append("\\" + char)
        else:
            shown.append(char if char.isprintable() else f"U+{ord(char):04X}")
    return "".join(shown).replace("://", ":\\/\\/").replace("www.", "www\\.")


def moment(at_us: int | None) -> str:
    """Return a time in UTC, to the millisecond."""
    if at_us is None:
        return "not known"
    return dt.datetime.fromtimestamp(at_us / 1_000_000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def span(us: int) -> str:
    """Return a duration as people say it."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if abs(us) >= 2 * size * 1_000_000:
            return f"{us / size / 1_000_000:.1f} {unit}"
    return f"{us / 1_000_000:.3f} s"


def _events(entry: JournalEntry) -> list[Event | RouteEvent]:
    try:
        return _decode(entry.payload)
    except msgspec.DecodeError:
        return []


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return ["", f"## {title}", "", *lines]


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]], empty: str) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return [empty]
    return [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}", *lines]


def _head(facts: Facts) -> list[str]:
    one = facts.incident
    ended = "still open" if one.resolved_at_us is None else moment(one.resolved_at_us)
    return [
        f"# Incident {escaped(one.name)}",
        "",
        escaped(one.summary),
        "",
        *_table(
            ("", ""),
            [
                ("Kind", escaped(one.kind)),
                ("About", escaped(one.subject) or "the route"),
                ("Route", escaped(one.route)),
                ("First seen", moment(one.first_seen_at_us)),
                ("Opened", moment(one.opened_at_us)),
                ("Difference gone", "not yet" if one.converged_at_us is None else moment(one.converged_at_us)),
                ("Resolved", ended),
                ("By", escaped(one.resolved_by or "")),
                ("Reason", escaped(one.resolution or "")),
                ("Seen", f"{one.seen} times"),
                ("This page", f"written {moment(facts.written_at_us)}; all times are UTC"),
            ],
            "",
        ),
    ]


def _figures(one: Incident) -> list[str]:
    detect = None if one.first_seen_at_us is None else one.opened_at_us - one.first_seen_at_us
    converge = None if one.converged_at_us is None else one.converged_at_us - one.opened_at_us
    resolve = None if one.resolved_at_us is None else one.resolved_at_us - one.opened_at_us
    rows = [
        ("Time to detect (first seen to opened)", "not known" if detect is None else span(detect)),
        ("Time to converge (opened to the difference gone)", "not yet" if converge is None else span(converge)),
        ("Time to resolve (opened to resolved)", "not yet" if resolve is None else span(resolve)),
    ]
    return _table(("Figure", "Value"), rows, "")


def _snapshot(one: Incident) -> list[str]:
    made = one.snapshot
    if made is None:
        return ["No snapshot was taken yet."]
    after = span(made.at_us - one.opened_at_us)
    return [
        f"Taken {moment(made.at_us)}, {after} after it was opened; journal at entry {made.journal_sequence}.",
        *_listed("Positions", made.positions),
        *_listed("Open orders here", made.open_here),
        *_listed(f"Open orders at the venue ({escaped(made.venue_said) or 'not asked'})", made.open_at_venue),
        *_listed("Streams", _offsets(made)),
    ]


def _offsets(made: Snapshot) -> tuple[str, ...]:
    return tuple(f"{name}: at {place}" for name, place in sorted(made.offsets.items()))


def _listed(title: str, lines: Iterable[str]) -> list[str]:
    return ["", f"{title}:", "", *([f"- {escaped(line)}" for line in lines] or ["- none"])]


def _timeline(told: list[tuple[JournalEntry, Event | RouteEvent]], keys: dict[int, str], left_out: int) -> list[str]:
    rows = [
        (moment(entry.at_us), str(entry.sequence), escaped(_key(entry, keys)), escaped(_words(event)))
        for entry, event in told[:MOST_LINES]
    ]
    lines = _table(("Time", "Entry", "Order", "What was known from here on"), rows, "The journal has nothing about it.")
    left_out += max(len(told) - MOST_LINES, 0)
    return [*lines, "", f"{left_out} more were left out; `onefill audit log` has them."] if left_out else lines


def _archived(file: str | None) -> list[str]:
    if file is None:
        return []
    return ["", f"Earlier entries are archived, the last of them in {escaped(file)}: they are not in this timeline."]


def _key(entry: JournalEntry, keys: dict[int, str]) -> str:
    return "" if entry.intent_id is None else keys.get(entry.intent_id, "another")


def _words(event: Event | RouteEvent) -> str:
    """Return an event in words: what it is, and what it says."""
    name = str(type(event).__struct_config__.tag).replace("_", " ")
    said = ", ".join(f"{field.removesuffix('_us').replace('_', ' ')} {text}" for field, text in _fields(event))
    return f"{name}: {said}" if said else name


def _fields(event: Event | RouteEvent) -> Iterator[tuple[str, str]]:
    if isinstance(event, ev.Recorded):
        wanted = from_canonical(bytes(event.intent))
        price = "the market" if wanted.price is None else plain(wanted.price)
        yield "wanted", f"{wanted.side} {plain(wanted.quantity)} {wanted.instrument} at {price}"
        if wanted.parameters is not None:
            yield "parameters", wanted.parameters
    for field in event.__struct_fields__:
        value = getattr(event, field)
        if (field in _HIDDEN and not isinstance(event, ev.IncidentSeen)) or value in (None, "", (), False):
            continue
        if isinstance(value, Decimal):
            yield field, plain(value)
        elif isinstance(value, tuple):
            yield field, "; ".join(map(str, value))
        else:
            yield field, moment(value) if field.endswith("_us") and isinstance(value, int) else str(value)


def _orders(orders: Iterable[Order]) -> list[str]:
    rows = [
        (
            escaped(one.key),
            escaped(one.live_id),
            escaped(one.venue_order_id or ""),
            escaped(f"{one.intent.side} {plain(one.quantity)} {one.intent.instrument}"),
            "market" if one.price is None else plain(one.price),
            f"{one.status}{', left to a person' if one.parked else ''}",
            plain(one.cum_quantity),
        )
        for one in orders
    ]
    headings = ("Key", "Client order id", "Venue's number", "Order", "Price", "Status", "Executed")
    return _table(headings, rows, "It is about no order of this ledger.")


def _executions(told: list[tuple[JournalEntry, Event | RouteEvent]], keys: dict[int, str]) -> list[str]:
    rows = [
        (
            moment(entry.at_us),
            escaped(event.execution_id),
            escaped(_key(entry, keys)) or "nobody's here",
            f"{plain(event.quantity)} at {plain(event.price)}",
            escaped(getattr(event, "kind", "trade")),
            escaped(event.stream),
        )
        for entry, event in told
        if isinstance(event, ev.Traded | ev.TradeAmended | ev.Quarantined)
    ]
    return _table(("Taken in", "Execution", "Order", "Quantity and price", "Kind", "By"), rows, "None in this time.")


def _controls(told: list[tuple[JournalEntry, Event | RouteEvent]]) -> list[str]:
    rows = [
        (
            moment(entry.at_us),
            f"{escaped(event.before)} to {escaped(event.state)}",
            escaped(event.by),
            escaped(event.reason),
        )
        for entry, event in told
        if isinstance(event, ev.ControlMoved)
    ]
    return _table(("Time", "Moved", "By", "Reason"), rows, "The route was not moved in this time.")


def _people(told: list[tuple[JournalEntry, Event | RouteEvent]], keys: dict[int, str]) -> list[str]:
    rows = []
    for entry, event in told:
        if isinstance(event, ev.Resolved):
            rows.append((moment(entry.at_us), event.by, f"order {_key(entry, keys)}: {event.verdict}: {event.reason}"))
        elif isinstance(event, ev.IncidentStepped):
            rows.append((moment(entry.at_us), event.by, f"{'skipped ' if event.skipped else ''}{event.step}"))
        elif isinstance(event, ev.IncidentResolved):
            rows.append((moment(entry.at_us), event.by, f"resolved: {event.reason}"))
        elif isinstance(event, ev.ControlMoved) and event.by != ITSELF:
            rows.append((moment(entry.at_us), event.by, f"moved the route to {event.state}"))
        elif isinstance(event, ev.RouteAcquired):
            rows.append((moment(entry.at_us), event.holder, "took the route"))
    shown = [(at, escaped(by), escaped(what)) for at, by, what in rows]
    return _table(("Time", "Who", "What"), shown, "Nobody has done anything yet.")


def _runbook(one: Incident) -> list[str]:
    done = {step.step: step for step in one.steps}
    lines = []
    for step in STEPS:
        found = done.get(step)
        if found is None:
            lines.append(f"- [ ] {escaped(step)}")
        else:
            who = f"{moment(found.at_us)}, {escaped(found.by)}{', skipped' if found.skipped else ''}"
            lines.append(f"- [x] {escaped(step)} ({who}): {escaped(found.result)}")
    return lines
