"""What the gateway does after a time-out at a venue, in words made from the rules themselves.

Each situation is played through the real retry contract (:mod:`onefill.core.contract_play`) and the steps it took are told:
at length for ``onefill venues``, in short for the table of ``docs/retry-contract.md``. Times count from the first claim.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from onefill.core import steps
from onefill.core.capabilities import Capabilities, DuplicateReply, Lookup, ReplaceStyle, UniqueScope
from onefill.core.contract_play import START_US, Fate, Move, Played, Situation, play, possible
from onefill.core.lifecycle import Status
from onefill.core.steps import Step

_F = Fate
SITUATIONS: Final = (
    Situation(
        name="lost_found",
        title="The reply is lost; the order is there",
        copies=(_F.TAKEN_REPLY_LOST, _F.TAKEN),
    ),
    Situation(
        name="lost_found_later",
        title="The reply is lost; the order is there, and shows late",
        copies=(_F.TAKEN_REPLY_LOST, _F.TAKEN),
        shown_after_s=1.2,
    ),
    Situation(
        name="lost_absent",
        title="Request and reply are lost; the order is not there",
        copies=(_F.LOST, _F.TAKEN),
    ),
    Situation(
        name="late",
        title="The request is on its way for 1.5 s",
        copies=(_F.LATE, _F.TAKEN),
    ),
    Situation(
        name="lost_silent",
        title="The reply is lost, and no query is answered for 4 s",
        copies=(_F.TAKEN_REPLY_LOST, _F.TAKEN),
        silent_s=4.0,
    ),
    Situation(name="not_sent", title="No connection, twice", copies=(_F.NOT_SENT, _F.NOT_SENT, _F.TAKEN)),
    Situation(name="throttled", title="Throttled, with a pause of 2 s", copies=(_F.THROTTLED, _F.TAKEN)),
    Situation(name="too_late", title="Refused as too late", copies=(_F.TOO_LATE, _F.TAKEN)),
    Situation(name="duplicate", title="Refused as a duplicate; the order shows", copies=(_F.DUPLICATE,)),
    Situation(
        name="duplicate_hidden",
        title="Refused as a duplicate; no order shows",
        copies=(_F.DUPLICATE,),
        shown_after_s=None,
    ),
    Situation(name="rejected", title="Rejected", copies=(_F.REJECTED,)),
    Situation(
        name="cancel_found",
        title="The reply is lost and a cancel comes; the order is there",
        copies=(_F.TAKEN_REPLY_LOST, _F.TAKEN),
        cancel=True,
    ),
    Situation(
        name="cancel_absent",
        title="Request and reply are lost and a cancel comes; the order is not there",
        copies=(_F.LOST,),
        cancel=True,
    ),
    Situation(
        name="expired",
        title="Request and reply are lost; the time to live, 4 s, runs out",
        copies=(_F.LOST,),
        lives_s=4.0,
    ),
    Situation(
        name="replace_done",
        title="A replace is done; its reply is lost",
        copies=(_F.TAKEN,),
        replaces=(_F.TAKEN_REPLY_LOST, _F.TAKEN),
    ),
    Situation(
        name="replace_undone",
        title="A replace and its reply are lost",
        copies=(_F.TAKEN,),
        replaces=(_F.LOST, _F.TAKEN),
    ),
)
"""What is played, in the order in which it is told."""

_D, _L, _R, _S = DuplicateReply, Lookup, ReplaceStyle, UniqueScope
VENUE_CLASSES: Final[Mapping[str, Capabilities]] = {
    "ever, asked": Capabilities(unique_scope=_S.EVER, duplicate_reply=_D.ERROR, lookup=_L.DIRECT, replace=_R.NEW_ID),
    "ever, not asked": Capabilities(unique_scope=_S.EVER, duplicate_reply=_D.ORIGINAL, lookup=_L.NONE),
    "day, asked, T": Capabilities(
        unique_scope=_S.DAY,
        duplicate_reply=_D.ERROR,
        lookup=_L.DIRECT,
        conclusive_after_s=60.0,
        replace=_R.NEW_ID,
    ),
    "open, asked, T": Capabilities(
        unique_scope=_S.OPEN,
        duplicate_reply=_D.ERROR,
        lookup=_L.DIRECT,
        request_expiry_s=2.0,
        conclusive_after_s=15.0,
        replace=_R.KEEP,
    ),
    "open, asked, no T": Capabilities(
        unique_scope=_S.OPEN, duplicate_reply=_D.ERROR, lookup=_L.DIRECT, replace=_R.KEEP
    ),
    "none, asked, T": Capabilities(lookup=_L.DIRECT, request_expiry_s=3.0, conclusive_after_s=10.0, replace=_R.KEEP),
    "none, scan, no T": Capabilities(lookup=_L.SCAN, replace=_R.KEEP),
    "none, not asked": Capabilities(),
}
"""Kinds of venues that behave differently: uniqueness, look-up, and whether "not found" ever becomes conclusive (T)."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One situation at one venue: in short, at length, and how many orders the venue made of it."""

    short: str
    words: str
    orders: int


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One situation at every venue asked for, by the venue's name."""

    name: str
    title: str
    told: dict[str, Told]


def situations(venues: Mapping[str, Capabilities] = VENUE_CLASSES) -> tuple[Row, ...]:
    """Return what happens in every situation (rows) at every venue (columns), as plain data."""
    return tuple(
        Row(name=one.name, title=one.title, told={name: tell(one, of) for name, of in venues.items()})
        for one in SITUATIONS
    )


def tell(situation: Situation, capabilities: Capabilities) -> Told:
    """Return one situation at one venue, told."""
    why_not = possible(situation, capabilities)
    if why_not is not None:
        return Told(short="-", words=why_not, orders=0)
    played = play(situation, capabilities)
    groups = list(_groups(played.moves))
    if played.order.status is Status.REJECTED:
        return Told(short="end", words=f"{_words(groups)}, which is final", orders=played.orders)
    goes_on = ", and so on" if played.cut else ""
    return Told(short=_short(groups), words=_words(groups) + goes_on, orders=played.orders)


def after_time_out(capabilities: Capabilities) -> str:
    """Return in one phrase what happens after a lost reply, whether the order then shows or not."""
    absent = play(_named("lost_absent"), capabilities)
    taken = [type(move.step) for move in absent.moves]
    asks = "scan" if steps.Scan in taken else "ask"
    first = f"{asks} first; " if steps.Ask in taken or steps.Scan in taken else ""
    if steps.ConcludeAbsent in taken or absent.cut:
        then = "resend with the same id" if taken.count(steps.Send) > 1 or absent.cut else "end it unsent, never resend"
        return f"{first}absent only after {_seconds(capabilities.conclusive_after_s or 0.0)}, then {then}"
    if _resent(absent):
        return f"{first}{'not there: ' if first else ''}resend with the same id at once"
    if first:
        return f"{first}never resend; after {_queries(absent)} in vain a person decides"
    return "neither ask nor resend: a person decides"


def _named(name: str) -> Situation:
    return next(one for one in SITUATIONS if one.name == name)


def _resent(played: Played) -> bool:
    return sum(isinstance(move.step, steps.Send) for move in played.moves) > 1


def _queries(played: Played) -> int:
    """Return how many queries there were before a person was told."""
    count = 0
    for move in played.moves:
        if isinstance(move.step, steps.Park):
            break
        count += isinstance(move.step, steps.Ask | steps.Scan)
    return count


# ---------------------------------------------------------------------- groups of moves


class _Group(msgspec.Struct):
    """Queries of one kind that came to the same, paced by waits; or one other move."""

    moves: list[Move]

    @property
    def step(self) -> Step:
        return self.moves[0].step

    @property
    def came(self) -> str:
        return self.moves[0].came


def _groups(moves: Sequence[Move]) -> Iterator[_Group]:
    """Gather queries that follow each other, leaving out the waits that only set their pace or that of sending."""
    gathered: _Group | None = None
    for place, move in enumerate(moves):
        if isinstance(move.step, steps.WaitUntil):
            following = moves[place + 1].step if place + 1 < len(moves) else None
            if not isinstance(following, steps.Ask | steps.Scan | steps.Send | steps.SendReplace | None):
                if gathered is not None:
                    yield gathered
                gathered = _Group([move])
            continue
        if gathered is not None:
            if _goes_on(gathered, move):
                gathered.moves.append(move)
                continue
            yield gathered
        gathered = _Group([move])
    if gathered is not None:
        yield gathered


def _goes_on(group: _Group, move: Move) -> bool:
    query = isinstance(move.step, steps.Ask | steps.Scan)
    return query and move.step == group.step and move.came == group.came


_SHORT: Final[dict[type[Step], str]] = {
    steps.Ask: "ask",
    steps.Scan: "scan",
    steps.Adopt: "adopt",
    steps.WaitUntil: "wait",
    steps.ConcludeAbsent: "absent",
    steps.ConcludeNotReplaced: "not replaced",
    steps.ExpireUnsent: "end unsent",
    steps.Withdraw: "end unsent",
    steps.Park: "person",
    steps.SendCancel: "cancel",
    steps.TellRefused: "tell",
    steps.DropReplace: "refused",
}


def _short(groups: Sequence[_Group]) -> str:
    said: list[str] = []
    for place, group in enumerate(groups):
        step = group.step
        if isinstance(step, steps.Send | steps.SendReplace):
            if place == 0 and group.came in _SILENT:
                continue  # it is what the situation's title says
            name = "send" if step.number == 1 else "resend"
            name = name if group.came in _EXPECTED else f"{name} ({group.came})"
        else:
            name = _SHORT[type(step)]
        if said and said[-1].rstrip("…") == name:
            said[-1] = f"{name}…"
        else:
            said.append(name + ("…" if len(group.moves) > 1 else ""))
        if isinstance(step, steps.Park):
            break
    return " → ".join(said)


_SILENT: Final = frozenset(
    {"no reply", "no connection", "refused as a duplicate", "rejected", "throttled", "refused as too late"}
)
_EXPECTED: Final = frozenset({"accepted", "done", "answered with the first order", "no reply"})


def _words(groups: Sequence[_Group]) -> str:
    said: list[str] = []
    for place, group in enumerate(groups):
        if place == len(groups) - 1 and said and isinstance(groups[place - 1].step, steps.Park):
            said.append(f"goes on {_asking(group)}")
            break
        said.append(_phrase(group))
    return "; ".join(said)


def _asking(group: _Group) -> str:
    way = "listing" if isinstance(group.step, steps.Scan) else "asking"
    return f"{way}, at most every {_seconds(max(_gaps(group), default=0.0))}"


def _phrase(group: _Group) -> str:
    step, at = group.step, _at(group.moves[0].at_s)
    again = isinstance(step, steps.Send | steps.SendReplace) and step.number > 1
    match step:
        case steps.Send():
            said = (f"sends it again with the same id {at}" if again else "sends it") + f": {group.came}"
        case steps.SendReplace():
            said = (f"sends the replace again with the same ids {at}" if again else "sends it") + f": {group.came}"
        case steps.Ask() | steps.Scan():
            said = _query_phrase(group, at)
        case steps.WaitUntil():
            said = f"waits until {_seconds((step.at_us - START_US) / 1_000_000)} ({step.reason})"
        case steps.Adopt():
            said = "compares it with what was wanted and takes in what it shows"
        case steps.ConcludeAbsent():
            said = f"{at}, with every copy dead, holds it for absent"
        case steps.ConcludeNotReplaced():
            said = f"{at}, holds it for not replaced ({step.reason})"
        case steps.SendCancel():
            said = f"sends the cancel {at}: {group.came}"
        case steps.Park():
            said = f"{at}, leaves it UNCERTAIN for a person ({step.reason})"
        case steps.ExpireUnsent() | steps.Withdraw():
            said = f"{at}, ends it as never sent ({step.reason})"
        case steps.DropReplace():
            said = f"tells {at} that it was not replaced ({step.reason})"
        case _:
            said = f"tells {at} that it was refused"
    return said


def _at(seconds: float) -> str:
    return f"at {_seconds(seconds)}" if seconds else "at once"


def _query_phrase(group: _Group, at: str) -> str:
    way = "lists open orders and fills and searches them" if isinstance(group.step, steps.Scan) else "asks by id"
    said = f"{way} {at}: {group.came}"
    gaps = _gaps(group)
    if not gaps:
        return said
    shown = [_seconds(gap) for gap in gaps[:3]] + (["…"] if len(gaps) > 3 else [])
    last = f" up to {_seconds(max(gaps))} apart" if len(gaps) > 3 else ""
    return f"{said}, again after {', '.join(shown)}{last} until {_seconds(group.moves[-1].at_s)}"


def _gaps(group: _Group) -> list[float]:
    times = [move.at_s for move in group.moves]
    return [after - before for before, after in itertools.pairwise(times)]


def _seconds(seconds: float) -> str:
    """Return a duration as people write it: 50 ms, 1.5 s, 1 min."""
    seconds = round(seconds, 3)
    if 0 < seconds < 1:
        return f"{round(seconds * 1000):g} ms"
    if seconds >= 60 and not seconds % 60:
        return f"{seconds / 60:g} min"
    return f"{round(seconds, 2):g} s"
