"""A venue's capabilities as single named values: as files write them, as people read them, and replaced one by one."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from onefill.core.capabilities import Capabilities, DuplicateReply, ExecutionIdScope, Lookup, ReplaceStyle, UniqueScope
from onefill.core.errors import InvalidField
from onefill.core.identity import Alphabet, IdFormat

NAMES: Final = Capabilities.__struct_fields__
"""The capabilities' names, in the order in which they are shown."""
NOTHING: Final = "none"
"""How a file says that a venue has no such duration; TOML has no word for it."""
_DURATIONS: Final = frozenset({"request_expiry_s", "conclusive_after_s", "lookup_forgets_after_s"})
_SWITCHES: Final = frozenset(
    {
        "acknowledges_asynchronously",
        "cancel_by_client_order_id",
        "cumulative_fills_only",
        "execution_revisions",
        "drop_copy",
        "lists_open_orders",
        "tells_positions",
    }
)
_TEXTS: Final[dict[str, type[StrEnum]]] = {
    "unique_scope": UniqueScope,
    "duplicate_reply": DuplicateReply,
    "lookup": Lookup,
    "replace": ReplaceStyle,
    "execution_id_scope": ExecutionIdScope,
}

# From the careful value to the trusting one. What a venue does to ids on a replace cannot be ordered, but none is careful.
_TRUST: Final[dict[str, tuple[StrEnum | bool, ...]]] = {
    "unique_scope": (UniqueScope.NONE, UniqueScope.OPEN, UniqueScope.DAY, UniqueScope.EVER),
    "duplicate_reply": (DuplicateReply.ACCEPTS, DuplicateReply.ERROR, DuplicateReply.ORIGINAL),
    "lookup": (Lookup.NONE, Lookup.SCAN, Lookup.DIRECT),
    "acknowledges_asynchronously": (True, False),
    "cancel_by_client_order_id": (False, True),
    "cumulative_fills_only": (True, False),
    "execution_revisions": (True, False),
    "drop_copy": (False, True),
    "lists_open_orders": (False, True),
    "tells_positions": (False, True),
    "execution_id_scope": (ExecutionIdScope.ORDER, ExecutionIdScope.INSTRUMENT, ExecutionIdScope.ACCOUNT),
}


def overridden(capabilities: Capabilities, overrides: Mapping[str, Any]) -> Capabilities:
    """Return ``capabilities`` with single values replaced, as a settings file writes them.

    A duration is a number of seconds or ``"none"``; ``id_format`` is a table in which what is not named stays. Raises
    :class:`~onefill.core.errors.InvalidField` naming the capability and what it takes.
    """
    given = {name: getattr(capabilities, name) for name in NAMES}
    for name, value in overrides.items():
        if name not in given:
            raise InvalidField(name, f"is not a capability; known here: {', '.join(NAMES)}")
        given[name] = _read(name, value, given[name])
    return Capabilities(**given)


def _read(name: str, value: Any, before: Any) -> Any:
    if name == "id_format":
        return _id_format(value, before)
    if name in _DURATIONS:
        if value == NOTHING or value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidField(name, f'{value!r} is neither a number of seconds, such as 2.5, nor "{NOTHING}"')
        return float(value)
    if name in _SWITCHES:
        if not isinstance(value, bool):
            raise InvalidField(name, f"{value!r} is neither true nor false")
        return value
    if not isinstance(value, str):
        raise InvalidField(name, f"{value!r} is none of: {', '.join(_TEXTS[name])}")
    return value


def _id_format(value: Any, before: IdFormat) -> IdFormat:
    if isinstance(value, IdFormat):
        return value
    if not isinstance(value, Mapping):
        raise InvalidField("id_format", f"is a table with any of: {', '.join(IdFormat.__struct_fields__)}")
    given = {name: getattr(before, name) for name in IdFormat.__struct_fields__}
    for name, part in value.items():
        place = f"id_format.{name}"
        if name not in given:
            raise InvalidField(place, f"is not part of an id's format; known here: {', '.join(given)}")
        kind = {"alphabet": Alphabet, "max_length": int, "prefix": str}[name]
        try:
            given[name] = msgspec.convert(part, kind)
        except msgspec.ValidationError:
            wanted = {"alphabet": f"one of: {', '.join(Alphabet)}", "max_length": "a whole number", "prefix": "text"}
            raise InvalidField(place, f"{part!r} is not {wanted[name]}") from None
    return IdFormat(**given)


def shown(value: Any) -> str:
    """Return a capability's value as a table shows it: ``15 s``, ``none``, ``yes``, ``hex, 34 long, 0x``."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g} s"
    if isinstance(value, IdFormat):
        return f"{value.alphabet}, {value.max_length} long" + (f", {value.prefix}" if value.prefix else "")
    return str(value)


def plain_value(value: Any) -> Any:
    """Return a capability's value as JSON and TOML take it. An absent duration is ``None``."""
    return msgspec.to_builtins(value)


def trusts_more(name: str, before: Any, after: Any) -> bool:
    """Tell whether ``after`` makes the contract less careful than ``before``: it takes the venue to promise more."""
    if name == "lookup_forgets_after_s":
        return before is not None and (after is None or bool(after > before))
    if name in _DURATIONS:
        return after is not None and (before is None or bool(after < before))
    if name == "replace":
        return after is not before and after is not ReplaceStyle.NONE
    if name == "id_format":
        return bool(after != before)
    order = _TRUST[name]
    return order.index(after) > order.index(before)
