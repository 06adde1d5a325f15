"""Risk limits as somebody sets them: for everything, and otherwise for an account, a strategy or an instrument."""

from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from onefill.core import values
from onefill.core.errors import InvalidField

SIMILAR_WINDOW_S = 2.0
"""The window of the suspected duplicate gate where limits are set and this one is not."""
_MOST_WINDOW_S = 3600.0
"""The longest one: what was taken within it is kept in memory."""
_DECIMALS = ("max_quantity", "max_notional", "max_position", "max_strategy_position")
_COUNTS = ("max_open_orders", "max_orders_per_s")
Choice = TypeVar("Choice", bound=StrEnum)


class WithoutReference(StrEnum):
    """What becomes of an order that must be judged by a reference price where none is known."""

    REFUSE = "refuse"
    PASS = "pass"  # noqa: S105 - no password


class SelfCrossing(StrEnum):
    """What becomes of an order that could trade with one of the same account."""

    REFUSE = "refuse"
    ALLOW = "allow"


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one scope. What is left out is as in the wider scope; ``None`` lifts a limit that the wider scope sets.

    * ``max_quantity``: the largest order, in units of the instrument.
    * ``max_notional``: the largest order by value, in the price's currency.
    * ``collar``: by how much of the reference price a buy may be above it or a sell below it; 0.05 is 5 %.
    * ``without_reference``: what becomes of an order that needs a reference price to be judged by, and there is none.
    * ``max_position``: the most that an account may come to be long or short of an instrument, if all its open orders fill.
    * ``max_strategy_position``: the same for what one strategy holds in that account.
    * ``max_open_orders``: open orders of one strategy in one account.
    * ``max_orders_per_s``: orders of one strategy in one account within any second.
    * ``self_crossing``: what becomes of an order that could trade with an open one of the same account.
    * ``similar_window_s``: for how long the same order under another key is taken for a duplicate; 0 is never.

    Checked on construction; raises :class:`~onefill.core.errors.InvalidField`. Numbers are Decimal, int or text, no floats.
    """

    max_quantity: Decimal | UnsetType | None = UNSET
    max_notional: Decimal | UnsetType | None = UNSET
    collar: Decimal | UnsetType | None = UNSET
    without_reference: WithoutReference | UnsetType = UNSET
    max_position: Decimal | UnsetType | None = UNSET
    max_strategy_position: Decimal | UnsetType | None = UNSET
    max_open_orders: int | UnsetType | None = UNSET
    max_orders_per_s: int | UnsetType | None = UNSET
    self_crossing: SelfCrossing | UnsetType = UNSET
    similar_window_s: float | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Bring every limit into its one form, and refuse what is none."""
        put = msgspec.structs.force_setattr
        for field in (*_DECIMALS, "collar"):
            given = getattr(self, field)
            if given is not UNSET and given is not None:
                put(self, field, _limit(given, field))
        if isinstance(self.collar, Decimal) and self.collar >= 1:
            raise InvalidField("collar", f"{values.plain(self.collar)} is not below 1; it is a fraction: 0.05 is 5 %")
        for field in _COUNTS:
            given = getattr(self, field)
            if given is not UNSET and given is not None and (type(given) is not int or given < 0):
                raise InvalidField(field, f"{given!r} is not a whole number from zero on")
        if self.without_reference is not UNSET:
            put(self, "without_reference", _choice(WithoutReference, self.without_reference, "without_reference"))
        if self.self_crossing is not UNSET:
            put(self, "self_crossing", _choice(SelfCrossing, self.self_crossing, "self_crossing"))
        if self.similar_window_s is not UNSET:
            _check_window(self.similar_window_s)


def _limit(given: object, field: str) -> Decimal:
    number = values.exact_decimal(given, field)
    if number < 0:
        raise InvalidField(field, f"{values.plain(number)} is below zero")
    return number


def _choice(kind: type[Choice], given: object, field: str) -> Choice:
    return values.choice(kind, given, field)


def _check_window(given: object) -> None:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= _MOST_WINDOW_S:
        raise InvalidField("similar_window_s", f"{given!r} is not a number of seconds from 0 to {_MOST_WINDOW_S:g}")


class InForce(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The limits that hold for one order, after all scopes. ``None`` is no limit."""

    max_quantity: Decimal | None = None
    max_notional: Decimal | None = None
    collar: Decimal | None = None
    without_reference: WithoutReference = WithoutReference.REFUSE
    max_position: Decimal | None = None
    max_strategy_position: Decimal | None = None
    max_open_orders: int | None = None
    max_orders_per_s: int | None = None
    self_crossing: SelfCrossing = SelfCrossing.REFUSE
    similar_window_s: float = SIMILAR_WINDOW_S

    @property
    def similar_window_us(self) -> int:
        """The window of the suspected duplicate gate in µs."""
        return round(self.similar_window_s * 1_000_000)


class Risk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every limit of a gateway. Each single limit is the one of the most specific scope that sets it.

    From the most specific on: ``instruments``, ``strategies``, ``accounts``, ``limits`` (which hold for all).
    """

    limits: Limits = Limits()
    accounts: dict[str, Limits] = {}
    strategies: dict[str, Limits] = {}
    instruments: dict[str, Limits] = {}

    def __post_init__(self) -> None:
        """Refuse names that no order can have."""
        for scope in ("accounts", "strategies", "instruments"):
            for name in getattr(self, scope):
                values.name(name, f"{scope}.{name}")

    def in_force(self, account: str, strategy: str, instrument: str) -> InForce:
        """Return what holds for an order of this account and strategy in this instrument."""
        scopes = (
            self.limits,
            self.accounts.get(account),
            self.strategies.get(strategy),
            self.instruments.get(instrument),
        )
        given: dict[str, object] = {}
        for limits in scopes:
            if limits is not None:
                given |= {name: value for name, value in msgspec.structs.asdict(limits).items() if value is not UNSET}
        return msgspec.structs.replace(InForce(), **given)

    @property
    def longest_window_us(self) -> int:
        """The longest window of the suspected duplicate gate in any scope, in µs."""
        scopes = (self.limits, *self.accounts.values(), *self.strategies.values(), *self.instruments.values())
        windows = [limits.similar_window_s for limits in scopes if not isinstance(limits.similar_window_s, UnsetType)]
        if self.limits.similar_window_s is UNSET:
            windows.append(SIMILAR_WINDOW_S)
        return round(max(windows) * 1_000_000)
