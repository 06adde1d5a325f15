"""Where in the caller's code a guarded call stands: for keys that are derived from it, and for the warning about them."""

import sys
import warnings
from types import FrameType
from typing import Any, Final

import msgspec

from onefill.core.errors import DerivedKeyWarning

_NOT_THE_CALLER: Final = ("onefill", "ccxt", "asyncio", "concurrent", "threading")


class Site(msgspec.Struct, frozen=True, gc=False):
    """A line of code. ``name`` stays the same on another computer, and after the file was moved."""

    name: str
    file: str
    line: int
    module: str
    registry: Any
    """What the module was warned of, as Python keeps it, so that a line warns once where that is asked for."""


def call_site() -> Site:
    """Return the nearest line that is the caller's own: neither here nor in the library."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_back is not None:
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] not in _NOT_THE_CALLER:
            break
        frame = frame.f_back
    if frame is None:
        return Site("", "", 0, "", {})
    module = str(frame.f_globals.get("__name__", ""))
    name = f"{module}:{frame.f_code.co_qualname}:{frame.f_lineno}"
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    return Site(name, frame.f_code.co_filename, frame.f_lineno, module, registry)


def warn_of_derived_key(site: Site, method: str, bucket_s: float) -> None:
    """Warn that a call brought no key, at the line that made it. Raises the warning where warnings are errors."""
    warnings.warn_explicit(
        f"{method}() was called without a key. One is made from its content, this line and the time: the same call from here "
        f"again within {bucket_s:g} s is taken for a repeat, and a repeat later than that for a new order. Give "
        "params={'key': ...} to say which it is",
        DerivedKeyWarning,
        site.file,
        site.line,
        module=site.module,
        registry=site.registry,
    )
