"""The ``[reconcile]`` part of a settings file: when ledger and venue are compared, and what counts as lasting."""

from typing import Any

import msgspec

from onefill.core.errors import InvalidField
from onefill.engine.settings import ReconcileSettings

_KEYS = [field.name for field in msgspec.structs.fields(ReconcileSettings)]


def read(data: Any) -> ReconcileSettings:
    """Return the settings of a file's ``reconcile`` table. Raises InvalidField with the key's path.

    ``every_s = 0`` compares on command only.
    """
    if not isinstance(data, dict):
        raise InvalidField("reconcile", "is a table: write [reconcile] and its keys below")
    given: dict[str, Any] = {}
    for key, value in data.items():
        if key not in _KEYS:
            raise InvalidField(f"reconcile.{key}", f"is not a setting; known here: {', '.join(_KEYS)}")
        whole = key == "overlap"
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            wanted = "a whole number of reports" if whole else "a number of seconds"
            raise InvalidField(f"reconcile.{key}", f"{value!r} is not {wanted}")
        given[key] = value
    if given.get("every_s") == 0:
        given["every_s"] = None
    try:
        return ReconcileSettings(**given)
    except InvalidField as error:
        raise InvalidField(f"reconcile.{error.field}", error.problem) from None
