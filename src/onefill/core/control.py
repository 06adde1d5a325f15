"""Control states: what a route lets through (promise FAIL-CLOSED). Pure: readings and thresholds in, a state out.

NORMAL lets everything through. DEGRADED lets orders through, slower, and asks before it repeats anything; it ends by itself
once the readings have been calm for a while. DUP_RISK lets through cancels and what only reduces a position, SAFE only
cancels; both end by a person's release alone.
"""

import math
from decimal import Decimal
from enum import StrEnum

import msgspec

from onefill.core.errors import CallerError, InvalidField
from onefill.core.incident import MOST_TEXT, Finding, IncidentKind


class State(StrEnum):
    """The control states, from open to shut."""

    NORMAL = "normal"
    DEGRADED = "degraded"
    DUP_RISK = "dup_risk"
    SAFE = "safe"

    @property
    def rank(self) -> int:
        """How shut it is: 0 is open."""
        return list(State).index(self)


def worst(states: "list[State]") -> State:
    """Return the most shut of several states; NORMAL of none."""
    return max(states, key=lambda state: state.rank, default=State.NORMAL)


ITSELF = "onefill"
"""Who puts a route into a state when no person does."""


class Control(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The control state of a route, as the ledger keeps it. ``by``: who put it there, a person's name or ``onefill``.

    ``held``: a person froze it, so that it does not open by itself. ``excused``: what was true of the route when a person
    released it all the same; it shuts the route again only once it is more than that.
    """

    state: State = State.NORMAL
    since_us: int = 0
    reason: str = ""
    by: str = ITSELF
    version: int = 0
    held: bool = False
    excused: dict[str, int] = {}


def moved(control: Control, state: State, reason: str, by: str, at_us: int) -> Control:
    """Return the control after a move to another state."""
    return Control(
        state=state, since_us=at_us, reason=reason, by=by, version=control.version + 1, excused=control.excused
    )


def takes_orders(state: State, *, reduces: bool) -> bool:
    """Tell whether a new order may be taken, or a copy of one claimed. ``reduces``: it can only reduce a position."""
    if state in (State.NORMAL, State.DEGRADED):
        return True
    return state is State.DUP_RISK and reduces


def takes_replace(state: State, old: tuple[Decimal, Decimal | None], new: tuple[Decimal, Decimal | None]) -> bool:
    """Tell whether an order may be given another (quantity, price): in DUP_RISK a smaller quantity at the same price."""
    if state is State.DUP_RISK:
        return new[0] < old[0] and new[1] == old[1]
    return state is not State.SAFE


# ------------------------------------------------------------------ thresholds and readings


class Thresholds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a route moves by itself, and how it behaves while it is DEGRADED.

    What is entered at ``_enter`` is left at ``_leave``, which is lower: a reading that stays about one value does not make the
    route flap. Shares are parts of one. Everything that is counted is counted over the last ``window_s`` seconds.

    * ``automatic``: whether the route moves by itself at all; people can always move it.
    * ``sample_s``: how often the readings are taken. ``calm_s``: how long they are all below ``_leave`` before DEGRADED ends.
    * ``least_sent``: shares say nothing while fewer copies were sent. ``least_duplicates``: likewise for refused duplicates.
    * ``ack_timeout_share_*``: copies without a known outcome, of those sent. ``duplicate_share_*``: duplicates refused by the
      venue, of new orders. ``reconnects_*``: broken execution streams. ``ack_p99_s_*``: the time within which 99 of 100
      replies came.
    * ``rising``: duplicates and uncertain orders that both grew by so many within a window mean DEGRADED at once.
    * ``duplicate_share_risk``, ``uncertain_risk``, ``breaks_risk``, ``two_orders_risk``, ``anomalies_risk``,
      ``id_collisions_risk``: from so many on, DUP_RISK.
    * ``uncertain_safe``, ``holders_safe``, ``ledger_safe``: from so many on, SAFE.
    * ``uncertain_after_s``: an order counts as uncertain once its fate has been open for so long. ``break_after_s``: a break
      that has not converged for so long counts.
    * ``degraded_orders_per_s``, ``degraded_burst``: how many orders are sent while DEGRADED. ``degraded_patience``: by how much
      pauses between retries and queries are longer then.
    """

    automatic: bool = True
    sample_s: float = 1.0
    window_s: float = 60.0
    calm_s: float = 120.0
    least_sent: int = 20
    least_duplicates: int = 5
    ack_timeout_share_enter: float = 0.10
    ack_timeout_share_leave: float = 0.03
    duplicate_share_enter: float = 0.02
    duplicate_share_leave: float = 0.005
    reconnects_enter: int = 6
    reconnects_leave: int = 2
    ack_p99_s_enter: float = 5.0
    ack_p99_s_leave: float = 2.0
    rising: int = 3
    duplicate_share_risk: float = 0.10
    uncertain_risk: int = 20
    uncertain_safe: int = 100
    uncertain_after_s: float = 15.0
    breaks_risk: int = 1
    break_after_s: float = 300.0
    two_orders_risk: int = 1
    anomalies_risk: int = 5
    id_collisions_risk: int = 1
    holders_safe: int = 1
    ledger_safe: int = 1
    degraded_orders_per_s: float = 20.0
    degraded_burst: int = 1
    degraded_patience: float = 4.0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if isinstance(value, bool):
                continue
            if not (math.isfinite(value) and 0 <= value < 1e9):
                raise InvalidField(field, f"{value:g} is not a number from zero on")
            if not value and not field.endswith("_leave"):
                raise InvalidField(field, "is not above zero")
            if "share" in field and value > 1:
                raise InvalidField(field, f"{value:g} is more than 1; a share is a part of one, such as 0.05")
        for field in ("ack_timeout_share", "duplicate_share", "reconnects", "ack_p99_s"):
            if not getattr(self, f"{field}_leave") < getattr(self, f"{field}_enter"):
                raise InvalidField(f"{field}_leave", f"is not below {field}_enter; without a gap the route would flap")
        if self.duplicate_share_risk < self.duplicate_share_enter:
            raise InvalidField("duplicate_share_risk", "is below duplicate_share_enter")
        if self.uncertain_safe < self.uncertain_risk:
            raise InvalidField("uncertain_safe", "is below uncertain_risk")
        if self.sample_s > self.window_s:
            raise InvalidField("sample_s", "is longer than window_s")
        if self.degraded_patience < 1:
            raise InvalidField("degraded_patience", f"{self.degraded_patience:g} is below 1: it makes pauses longer")


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted within the window, and what is true now.

    ``*_grew``: by how much it is more than it was a window ago. ``calm_since_us``: since when every reading has been below
    what DEGRADED is left at; ``None`` while one is not.
    """

    sent: int = 0
    """Copies of orders."""
    new_orders: int = 0
    ack_timeouts: int = 0
    """Copies without a known outcome."""
    duplicates: int = 0
    """Copies that the venue refused as duplicates (DRR counts these of new orders)."""
    duplicates_grew: int = 0
    reconnects: int = 0
    ack_p99_us: int = 0
    id_collisions: int = 0
    uncertain: int = 0
    """Orders whose fate has been open for a while (UOC)."""
    uncertain_grew: int = 0
    breaks: int = 0
    """Breaks that do not converge."""
    oldest_break_s: float = 0.0
    """How old the oldest break is that has not converged (RBD)."""
    two_orders: int = 0
    anomalies: int = 0
    holders: int = 0
    """Signs of a second holder."""
    ledger: int = 0
    """Signs of an unstable ledger."""
    calm_since_us: int | None = None

    @property
    def ack_timeout_share(self) -> float:
        """Copies without a known outcome, as a part of those sent."""
        return self.ack_timeouts / max(self.sent, 1)

    @property
    def duplicate_share(self) -> float:
        """Refused duplicates, as a part of new orders (DRR)."""
        return self.duplicates / max(self.new_orders, 1)


# ---------------------------------------------------------------------------------- rules


class Trigger(msgspec.Struct, frozen=True):
    """One thing that shuts a route: which reading, from what threshold on, what it means, and what a person does first.

    ``level``: it is a state of things and not a count of what happened within the window, and can be excused.
    """

    state: State
    reading: str
    enter: str
    leave: str
    says: str
    first: str
    level: bool = False
    kind: IncidentKind = IncidentKind.CONTROL


_SAFE, _RISK, _SLOW = State.SAFE, State.DUP_RISK, State.DEGRADED
_WAIT = "wait until it is out of the window"
_ASK = "find out the fate of these orders (`onefill uncertain`, `onefill resolve`)"
_CLOSE = "work through the incidents and close them (`onefill incidents`)"
TRIGGERS = (
    Trigger(_SAFE, "holders", "holders_safe", "", "a second holder of the route is suspected", _CLOSE, level=True,
            kind=IncidentKind.SPLIT_BRAIN),
    Trigger(_SAFE, "ledger", "ledger_safe", "", "the ledger is unstable", _CLOSE, level=True, kind=IncidentKind.LEDGER),
    Trigger(_SAFE, "uncertain", "uncertain_safe", "", "orders of unknown fate: the venue's state is too uncertain", _ASK,
            level=True),
    Trigger(_RISK, "two_orders", "two_orders_risk", "", "ids under which the venue has two orders", _CLOSE, level=True),
    Trigger(_RISK, "duplicate_share", "duplicate_share_risk", "", "of the new orders were refused as duplicates", _WAIT),
    Trigger(_RISK, "id_collisions", "id_collisions_risk", "", "client order ids were already in use", _WAIT),
    Trigger(_RISK, "uncertain", "uncertain_risk", "", "orders of unknown fate have piled up", _ASK, level=True),
    Trigger(_RISK, "breaks", "breaks_risk", "", "breaks do not converge", _CLOSE, level=True),
    Trigger(_RISK, "anomalies", "anomalies_risk", "", "contradictions of the venue are open", _CLOSE, level=True),
    Trigger(_SLOW, "ack_timeout_share", "ack_timeout_share_enter", "ack_timeout_share_leave",
            "of the copies sent had no known outcome", _WAIT),
    Trigger(_SLOW, "duplicate_share", "duplicate_share_enter", "duplicate_share_leave",
            "of the new orders were refused as duplicates", _WAIT),
    Trigger(_SLOW, "reconnects", "reconnects_enter", "reconnects_leave", "times the execution stream broke", _WAIT),
    Trigger(_SLOW, "ack_p99_us", "ack_p99_s_enter", "ack_p99_s_leave", "is what 1 of 100 replies took or more", _WAIT),
    Trigger(_SLOW, "rising", "rising", "", "more refused duplicates and uncertain orders alike than a window ago", _WAIT),
)  # fmt: skip
"""What shuts a route by itself, the most shut state first."""


def _value(trigger: Trigger, readings: Readings, thresholds: Thresholds) -> float:
    """Return a reading in its threshold's unit; zero while it says nothing."""
    if trigger.reading == "rising":
        return min(readings.duplicates_grew, readings.uncertain_grew)
    if trigger.reading == "ack_p99_us":
        return readings.ack_p99_us / 1_000_000
    if trigger.reading == "ack_timeout_share" and readings.sent < thresholds.least_sent:
        return 0
    if trigger.reading == "duplicate_share" and readings.duplicates < thresholds.least_duplicates:
        return 0
    value: float = getattr(readings, trigger.reading)
    return value


def holding(control: Control, readings: Readings, thresholds: Thresholds) -> list[Trigger]:
    """Return the triggers that hold now, the most shut first. What was excused has to be more than it was then."""
    found = []
    for trigger in TRIGGERS:
        value = _value(trigger, readings, thresholds)
        excused = control.excused.get(trigger.reading, 0) if trigger.level else 0
        if value >= getattr(thresholds, trigger.enter) and value > excused:
            found.append(trigger)
    return found


def said(trigger: Trigger, readings: Readings, thresholds: Thresholds) -> str:
    """Return in words what a trigger found."""
    value, limit = _value(trigger, readings, thresholds), getattr(thresholds, trigger.enter)
    if trigger.reading == "breaks":
        oldest = f", the oldest for {readings.oldest_break_s:.0f} s"
        return f"{trigger.says}: {value:g}{oldest} (limit {limit:g})"
    if "share" in trigger.reading:
        return f"{value:.1%} {trigger.says} (limit {limit:.1%})"
    if trigger.reading == "ack_p99_us":
        return f"{value:.1f} s {trigger.says} (limit {limit:g} s)"
    if trigger.reading in ("holders", "ledger"):
        return f"{trigger.says}, by {value:g} sign{'s' if value > 1 else ''}"
    return f"{value:g} {trigger.says} (limit {limit:g})"


def calm(readings: Readings, thresholds: Thresholds) -> bool:
    """Tell whether every reading is at or below what DEGRADED is left at."""
    for trigger in TRIGGERS:
        if trigger.state is State.DEGRADED:
            value = _value(trigger, readings, thresholds)
            leave = getattr(thresholds, trigger.leave) if trigger.leave else getattr(thresholds, trigger.enter) - 1
            if value > leave:
                return False
    return True


def judge(control: Control, readings: Readings, thresholds: Thresholds, now_us: int) -> tuple[State, str] | None:
    """Return the state that the route goes into by itself, and why; ``None``: it stays.

    By itself it only becomes more shut, but for DEGRADED, which ends when everything has been calm for ``calm_s``.
    """
    if not thresholds.automatic:
        return None
    found = holding(control, readings, thresholds)
    if found and found[0].state.rank > control.state.rank:
        return found[0].state, said(found[0], readings, thresholds)
    if control.state is not State.DEGRADED or control.held or found or readings.calm_since_us is None:
        return None
    if now_us - max(control.since_us, readings.calm_since_us) < thresholds.calm_s * 1_000_000:
        return None
    return State.NORMAL, f"calm for {thresholds.calm_s:g} s"


def finding(control: Control, readings: Readings, thresholds: Thresholds) -> Finding | None:
    """Return the incident that goes with a move to ``control``: every move into DUP_RISK or SAFE has one."""
    if control.state.rank < State.DUP_RISK.rank:
        return None
    found = [one for one in holding(control, readings, thresholds) if one.state is control.state]
    kind = found[0].kind if found and control.by == ITSELF else IncidentKind.CONTROL
    lines = [said(one, readings, thresholds) for one in found]
    return Finding(
        kind=kind,
        subject="",
        summary=f"the route is {control.state.name}: {control.reason}",
        evidence=(f"{control.state.name} by {control.by}: {control.reason}", *lines),
    )


# --------------------------------------------------------------------------------- people


class ReleaseRefused(CallerError):
    """What shut the route still holds. Nothing was changed."""

    def __init__(self, route: str, control: Control, reasons: list[str], first: list[str]) -> None:
        self.route = route
        super().__init__(
            f"route {route!r} stays {control.state.name}: {'; '.join(reasons)}. Nothing was changed. First "
            f"{'; '.join(first)}; or say --force, which lets it open although this holds"
        )


def _named(by: str, reason: str, what: str) -> None:
    for field, text in (("by", by), ("reason", reason)):
        if not text.strip() or len(text) > MOST_TEXT or not text.isprintable():
            raise InvalidField(
                field,
                f"is to be a line of 1 to {MOST_TEXT} characters: a route is {what} by somebody, with a reason. Nothing was "
                "changed",
            )


def frozen(control: Control, route: str, state: State, by: str, reason: str, at_us: int) -> Control:
    """Return the control as a person shuts the route. Raises InvalidField; a freeze never opens."""
    _named(by, reason, "frozen")
    if state is State.NORMAL or state.rank < control.state.rank:
        raise InvalidField(
            "state",
            f"{state}: route {route!r} is {control.state.name}, and a freeze never opens anything; `onefill release` does. "
            "Nothing was changed",
        )
    return msgspec.structs.replace(moved(control, state, reason, by, at_us), held=True)


def released(
    control: Control,
    route: str,
    readings: Readings,
    thresholds: Thresholds,
    by: str,
    reason: str,
    at_us: int,
    *,
    force: bool,
) -> Control | None:
    """Return the control as a person opens the route, ``None`` if it is open already.

    From SAFE and DUP_RISK the way leads to DEGRADED, which ends by itself once all has been calm; from DEGRADED to NORMAL.
    Raises InvalidField without a name or reason, and ReleaseRefused while something holds that shuts it more than that,
    unless ``force``: then what holds now is excused, and only more of it shuts the route again.
    """
    _named(by, reason, "released")
    if control.state is State.NORMAL:
        return None
    target = State.DEGRADED if control.state.rank > State.DEGRADED.rank else State.NORMAL
    found = [one for one in holding(control, readings, thresholds) if one.state.rank > target.rank]
    if found and thresholds.automatic and not force:
        reasons = [said(one, readings, thresholds) for one in found]
        raise ReleaseRefused(route, control, reasons, list(dict.fromkeys(one.first for one in found)))
    excused = control.excused
    if force:
        excused = {one.reading: int(_value(one, readings, thresholds)) for one in TRIGGERS if one.level}
    return msgspec.structs.replace(
        moved(control, target, reason, by, at_us), excused={name: value for name, value in excused.items() if value}
    )


def still_excused(control: Control, readings: Readings) -> Control:
    """Return the control without excuses for what is less by now: each counts down with what it excuses."""
    if not control.excused:
        return control
    less = {name: min(value, getattr(readings, name)) for name, value in control.excused.items()}
    return msgspec.structs.replace(control, excused={name: value for name, value in less.items() if value})


def refusal(route: str, control: Control, since: str) -> str:
    """Return what a caller is told whose order is not taken: state, since when, why, and who opens it how."""
    allowed = "cancels only" if control.state is State.SAFE else "only cancels and what reduces a position"
    return (
        f"route {route!r} is {control.state.name} since {since}, put there by {control.by}: {control.reason}. It takes "
        f"{allowed}; nothing was recorded or sent, so the same key can be used again once it is open. A person "
        f'opens it: onefill release LEDGER {route} --reason "..."'
    )
