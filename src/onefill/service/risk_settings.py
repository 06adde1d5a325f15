"""The ``[risk]`` part of a settings file: limits for all, and ``[risk.accounts.NAME]``, strategies and instruments likewise."""

from typing import Any

import msgspec

from onefill.core import values
from onefill.core.errors import InvalidField
from onefill.core.risk_limits import Limits, Risk

_SCOPES = ("accounts", "strategies", "instruments")
_KEYS = tuple(field.name for field in msgspec.structs.fields(Limits))
_NO_LIMIT = "none"
"""Lifts a limit that a wider scope sets."""
_NEVER_NONE = ("without_reference", "self_crossing", "similar_window_s")


def read(data: Any) -> Risk | None:
    """Return the limits of a file's ``risk`` table, ``None`` where there is none. Raises InvalidField with the key's path."""
    if data is None:
        return None
    table = _table(data, "risk")
    scopes = {
        scope: {
            values.name(name, f"risk.{scope}.{name}"): _limits(limits, f"risk.{scope}.{name}", ())
            for name, limits in _table(table.get(scope, {}), f"risk.{scope}").items()
        }
        for scope in _SCOPES
    }
    own = {key: value for key, value in table.items() if key not in _SCOPES}
    return Risk(limits=_limits(own, "risk", _SCOPES), **scopes)


def _limits(data: Any, place: str, more: tuple[str, ...]) -> Limits:
    given: dict[str, Any] = {}
    for key, value in _table(data, place).items():
        path = f"{place}.{key}"
        if key not in _KEYS:
            raise InvalidField(path, f"is not a setting; known here: {', '.join((*_KEYS, *more))}")
        given[key] = None if value == _NO_LIMIT and key not in _NEVER_NONE else value
        if isinstance(value, float) and key != "similar_window_s":
            raise InvalidField(path, f'{value!r} is not exact; write it in quotes: {key} = "{value!r}"')
        try:
            Limits(**{key: given[key]})
        except InvalidField as error:
            raise InvalidField(path, f"{error.problem}{_hint(key)}") from None
    return Limits(**given)


def _hint(key: str) -> str:
    return "" if key in _NEVER_NONE else f'; "{_NO_LIMIT}" lifts the limit'


def _table(data: Any, place: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InvalidField(place, f"is a table: write [{place}] and its keys below")
    return data
