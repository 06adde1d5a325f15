"""The small language in which tests of the retry contract are written: one row, one situation and its step.

Copies (of the order, of its cancels, of its replaces): what became of each and when it was claimed: ``?`` unknown, ``~``
awaited, ``n`` not sent, ``t`` throttled, ``l`` too late, ``d`` duplicate, ``r`` rejected, ``a`` accepted, ``x`` absent.

Venue: ``ever``, ``day``, ``open`` or ``none``; then whether it can be asked (``lookup``) or listed (``scan``), its request
expiry in seconds (``e2``), when not-found is conclusive (``T5``), what a replace does (``keep``, ``new``), and ``accepts`` if
a repeat is taken after all.

Last query: what it said (see :data:`SAID`), ``@`` when it was begun, ``#`` how many there were. Where they differ from what
the times say: ``*`` how many requests of each kind had been claimed by then, ``+`` how long ago the last one was claimed by a
clock that nobody can set (without it that claim is an earlier process's), ``C2:`` before it all which id was asked for.

The intent, and every replace, may be sent until second 30. A copy that bears no expiry leaves within 2 s: T counts from then.
"""

import re
from decimal import Decimal
from typing import Any

import msgspec
from core_kit import copies, order, shown, us

from onefill.core import steps
from onefill.core.capabilities import Capabilities, DuplicateReply, Lookup, ReplaceStyle, UniqueScope
from onefill.core.lifecycle import Status
from onefill.core.messages import VenueStatus
from onefill.core.order import Copy, Order
from onefill.core.steps import LastLookup
from onefill.core.values import plain

SAID: dict[str, dict[str, Any]] = {
    "missed": {"not_found": True},
    "failed": {},
    "found": {"shown": VenueStatus.NEW, "as_in_force": True, "found": shown()},  # and not taken in yet
    "live": {"shown": VenueStatus.NEW, "as_in_force": True},
    "other": {"shown": VenueStatus.NEW},  # live, and with other terms than those in force
    "over": {"shown": VenueStatus.CANCELED, "as_in_force": True},
    "filled": {"shown": VenueStatus.FILLED, "as_in_force": True},
    "rejected": {"shown": VenueStatus.REJECTED},
}
_QUERY = re.compile(r"(?:(\w+):)?([a-z]+)@([\d.]+)#(\d+)(?:\*(\d+))?(?:\+([\d.]+))?")
_WORDS: dict[type, str] = {
    steps.Adopt: "adopt",
    steps.ConcludeAbsent: "absent",
    steps.ConcludeNotReplaced: "not replaced",
    steps.ExpireUnsent: "expire",
    steps.Withdraw: "withdraw",
    steps.Park: "park",
    steps.TellRefused: "refused",
    steps.DropReplace: "drop",
    steps.Rest: "rest",
}


def rows(table: str) -> list[tuple[str, ...]]:
    """Return the table's rows as fields."""
    lines = [line for line in table.splitlines() if line and not line.startswith("#")]
    return [tuple(field.strip() for field in line.split("|")) for line in lines]


def venue_of(text: str) -> Capabilities:
    """Return capabilities from text such as ``open lookup e2 T5``."""
    words = text.split()
    seconds = {word[0]: float(word[1:]) for word in words if word[1:].isdigit()}
    lookup = Lookup.DIRECT if "lookup" in words else Lookup.SCAN if "scan" in words else Lookup.NONE
    style = ReplaceStyle.KEEP if "keep" in words else ReplaceStyle.NEW_ID if "new" in words else ReplaceStyle.NONE
    return Capabilities(
        unique_scope=UniqueScope(words[0]),
        duplicate_reply=DuplicateReply.ACCEPTS if {"none", "accepts"} & set(words) else DuplicateReply.ERROR,
        lookup=lookup,
        request_expiry_s=seconds.get("e"),
        conclusive_after_s=seconds.get("T"),
        lookup_forgets_after_s=seconds.get("F"),
        replace=style,
    )


def lookup_of(text: str, of: Order) -> LastLookup | None:
    """Return a query's result from text such as ``missed@1.5#2``."""
    if not text:
        return None
    parsed = _QUERY.fullmatch(text)
    assert parsed is not None, f"{text!r} is no query"
    asked_for, kind, at, count, claimed, waited = parsed.groups()
    asked_at_us = us(float(at))

    def before(claims: tuple[Copy, ...], earlier: int = 0) -> int:
        return int(claimed) if claimed else earlier + sum(copy.claimed_at_us <= asked_at_us for copy in claims)

    wanted = of.replacement
    return LastLookup(
        client_order_id=asked_for or of.client_order_id,
        asked_at_us=asked_at_us,
        count=int(count),
        copies=before(of.copies),
        cancels=before(of.cancels),
        replaces=0 if wanted is None else before(wanted.copies, wanted.copies_before),
        waited_us=None if waited is None else round(float(waited) * 1_000_000),
        **{"not_found": False, **SAID[kind]},
    )


def spelt(step: steps.Step) -> str:
    """Return a step in the words of the tables."""

    def second(moment: int) -> str:
        return plain(Decimal(moment - us(0)) / 1_000_000)

    def until(moment: int | None) -> str:
        return "" if moment is None else f" until {second(moment)}"

    match step:
        case steps.Send():
            return f"send {step.number}{until(step.expires_at_us)}"
        case steps.SendReplace():
            return f"replace {step.number}{until(step.expires_at_us)}"
        case steps.SendCancel():
            return f"cancel {step.number}"
        case steps.WaitUntil():
            return f"wait {second(step.at_us)}"
        case steps.Ask() | steps.Scan():
            verb = "ask" if isinstance(step, steps.Ask) else "scan"
            return verb if step.client_order_id == "C1" else f"{verb} {step.client_order_id}"
    return _WORDS[type(step)]


def order_of(words: str, sent: str, capabilities: Capabilities, **changes: Any) -> Order:
    """Return the order that a row describes: its state, and what else is true of it.

    ``pause8``: the first copy is to be repeated at second 8 at the soonest. ``cancel``: somebody wants it gone. ``parked``.
    ``full``: filled by the venue's word. ``night``: it may be sent until after midnight.
    """
    status, *flags = words.split()
    made = list(copies(sent, expiry_s=capabilities.request_expiry_s))
    for flag in flags:
        if flag.startswith("pause"):
            made[0] = msgspec.structs.replace(made[0], retry_at_us=us(float(flag[5:])))
    return order(
        status=Status(status),
        copies=tuple(made),
        cancel_wanted="cancel" in flags or "cancels" in changes,
        parked="parked" in flags,
        venue_cum_quantity=Decimal(10 if "full" in flags else 0),
        valid_until_us=us(50_000 if "night" in flags else 30),
        **changes,
    )
