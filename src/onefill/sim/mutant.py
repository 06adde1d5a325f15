"""A guard, and a way of switching it off from outside for as long as a ``with`` block lasts."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

Make = Callable[[Any], Any]


class Mutant(msgspec.Struct, frozen=True):
    """One guard, switched off.

    ``guard``: its name; ``without``: what is done instead. ``owner`` and ``attribute`` say where it is, ``make`` returns what
    takes its place, given the original.
    """

    guard: str
    without: str
    owner: Any
    attribute: str
    make: Make
    aim: str = ""
    """Only worlds whose profile's name has this text: where what the guard is for happens at all often."""

    search_aim: str = ""
    """Likewise for the exhaustive search: only venues whose name has this text."""

    searched: bool = True
    """Whether the exhaustive search comes to the guard, if it is in the core: it knows no busts and no control states."""

    @property
    def in_core(self) -> bool:
        """Whether the exhaustive search runs the guard: it runs rules of the core, and not all of them."""
        return self.searched and str(getattr(self.owner, "__module__", self.owner.__name__)).startswith("onefill.core")

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Switch the guard off while the block lasts, in every module of Onefill that has imported it."""
        original = getattr(self.owner, self.attribute)
        mutated = self.make(original)
        places: list[tuple[Any, str]] = [(self.owner, self.attribute)]
        tables: list[tuple[dict[Any, Any], Any]] = []
        for name, module in list(sys.modules.items()):
            if not name.startswith("onefill.") or module is None:
                continue
            for attribute, value in list(vars(module).items()):
                if value is original and (module, attribute) not in places:
                    places.append((module, attribute))
                elif isinstance(value, dict) and not attribute.startswith("__"):
                    tables += [(value, key) for key, entry in value.items() if entry is original]
        plain = vars(self.owner).get(self.attribute, original)  # a class keeps classmethods and properties wrapped
        for place, attribute in places:
            setattr(place, attribute, mutated)
        for table, key in tables:
            table[key] = mutated
        try:
            yield
        finally:
            for place, attribute in places:
                setattr(place, attribute, plain if place is self.owner else original)
            for table, key in tables:
                table[key] = original


def always(value: Any = None) -> Make:
    """Return what makes a function that says the same of everything."""
    return lambda _original: lambda *_args, **_named: value
