"""The ``[control]`` part of a settings file, and ``[venues.NAME.control]``, which replaces single values for one venue."""

from collections.abc import Mapping
from typing import Any

import msgspec

from onefill.core.control import Thresholds
from onefill.core.errors import InvalidField
from onefill.engine.controller import ControlPlan

_KEYS = {field.name: field for field in msgspec.structs.fields(Thresholds)}
_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}


def read(common: Any, venues: Mapping[str, Any]) -> ControlPlan:
    """Return the thresholds of a file's ``control`` table and of each venue's own. Raises InvalidField with the key's path."""
    for_all = _over(Thresholds(), common, "control")
    own = {name: _over(for_all, table, f"venues.{name}.control") for name, table in venues.items() if table}
    return ControlPlan(common=for_all, routes=own)


def _over(base: Thresholds, data: Any, place: str) -> Thresholds:
    if not isinstance(data, dict):
        raise InvalidField(place, f"is a table: write [{place}] and its keys below")
    for key, value in data.items():
        field = _KEYS.get(key)
        if field is None:
            raise InvalidField(f"{place}.{key}", f"is not a setting; known here: {', '.join(_KEYS)}")
        try:
            msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            raise InvalidField(f"{place}.{key}", f"{value!r} is not {_wanted(field)}") from None
    try:
        return msgspec.structs.replace(base, **data)
    except InvalidField as error:
        raise InvalidField(f"{place}.{error.field}", error.problem) from None


def _wanted(field: msgspec.structs.FieldInfo) -> str:
    of = " of seconds" if field.name.endswith("_s") and not field.name.endswith("per_s") else ""
    return _WORDS[field.type] + of
