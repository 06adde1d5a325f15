"""What is known of real venues, value by value: each with how sure it is and where it comes from.

A profile is a TOML file in ``profiles/``. Its ``[capabilities]`` are what the retry contract reads; its ``[wire]`` holds what
an adapter needs besides (codes, parameter names, traps). Unsure values lean to the careful side. A user who knows better
overrides single values in the settings file; nobody edits a profile for that.
"""

import difflib
import functools
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from onefill.core import values
from onefill.core.capabilities import Capabilities
from onefill.core.errors import InvalidField
from onefill.core.venue_words import NAMES, overridden

_FOLDER: Final = "profiles"
_SUFFIX: Final = ".toml"


class Certainty(StrEnum):
    """How sure a value is."""

    DOCUMENTED = "documented"
    """The venue's own text says so."""
    TRIED = "tried"
    """Seen when it was tried."""
    CODE = "code"
    """Read in a client library that people use against the venue."""
    THIRD_PARTY = "third_party"
    """Users or other people's texts say so."""
    ASSUMED = "assumed"
    """Nobody has confirmed it: the careful reading, a sum of ours, or a guess to be overridden."""


SURE: Final = frozenset({Certainty.DOCUMENTED, Certainty.TRIED, Certainty.CODE})
"""What a trusting value may rest on; see ``tests/venues/test_profiles.py`` for the few exceptions."""


class Fact(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One value of a profile. ``source`` says where it was read, tried or reckoned."""

    value: Any
    certainty: Certainty
    source: str


class Wire(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """What an adapter needs to know about a venue's messages. Empty means: not known, or not so.

    * ``client_id_parameter``: the venue's own name of the client order id; ``client_id_as_uuid``: spelt with hyphens.
    * ``expiry_parameter``: the request's expiry, where the venue honours one.
    * ``duplicate_codes``: the id was seen before; with ``duplicate_texts``, only if one of these stands beside the code.
    * ``unknown_codes``: errors that leave the fate of the request open, whatever a client library calls them.
    * ``too_late_codes``, ``throttled_codes``, ``not_found_codes``, ``cancel_of_dead_codes``: likewise by their meaning.
    * ``rejected_codes``: the venue refused the request for what it is, where a client library has no class that says so.
    * ``http_method_resendable``: what goes out by an HTTP method that clients send again by themselves: ``submit``,
      ``cancel``, ``replace``.
    * ``ids_in_cancel_reply_swapped``: the client id in a cancel's reply is the cancel's, not the order's.
    * ``status_200_errors``: errors may come with HTTP 200.
    * ``not_found_needs_scan``: the status query alone may miss a live order; open orders and fills must be empty too.
    * ``execution_id_fields``: what together names an execution; ``fill_cursor``: by what fills are read on.
    """

    client_id_parameter: str = ""
    client_id_as_uuid: bool = False
    expiry_parameter: str = ""
    duplicate_codes: tuple[str, ...] = ()
    duplicate_texts: tuple[str, ...] = ()
    unknown_codes: tuple[str, ...] = ()
    too_late_codes: tuple[str, ...] = ()
    throttled_codes: tuple[str, ...] = ()
    not_found_codes: tuple[str, ...] = ()
    cancel_of_dead_codes: tuple[str, ...] = ()
    rejected_codes: tuple[str, ...] = ()
    http_method_resendable: tuple[str, ...] = ()
    ids_in_cancel_reply_swapped: bool = False
    status_200_errors: bool = False
    not_found_needs_scan: bool = False
    execution_id_fields: tuple[str, ...] = ()
    fill_cursor: str = ""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A venue as far as it is known. ``facts`` and ``wire_facts`` hold, by name, what each value rests on."""

    name: str
    title: str
    capabilities: Capabilities
    facts: dict[str, Fact]
    wire: Wire
    wire_facts: dict[str, Fact]
    notes: tuple[str, ...]


def names() -> tuple[str, ...]:
    """Return the names of all profiles, sorted."""
    found = (entry.name for entry in _folder().iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX)))


@functools.cache
def load(name: str) -> Profile:
    """Return the profile called ``name``.

    Raises :class:`~onefill.core.errors.InvalidField` for a name that is none (with the nearest ones), or naming the key of a
    profile that is wrong.
    """
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, 3, 0.5) or known
        raise InvalidField("profile", f"{name!r} is no profile; nearest: {', '.join(near)}. See `onefill venues`")
    try:
        return read(name, (_folder() / f"{name}{_SUFFIX}").read_text("utf-8"))
    except InvalidField as error:
        raise InvalidField(f"profile {name}, {error.field}", error.problem) from None


def read(name: str, text: str) -> Profile:
    """Return the profile written in ``text`` (TOML). Raises :class:`~onefill.core.errors.InvalidField` naming the key."""
    try:
        data = msgspec.toml.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidField("file", f"is not TOML: {error}") from None
    known = ("title", "notes", "capabilities", "wire")
    for key in data:
        if key not in known:
            raise InvalidField(key, f"is not part of a profile; known here: {', '.join(known)}")
    facts = _facts(data.get("capabilities", {}), "capabilities")
    for key in NAMES:
        if key not in facts:
            raise InvalidField(f"capabilities.{key}", "is missing; a profile states every capability")
    wire_facts = _facts(data.get("wire", {}), "wire")
    try:
        capabilities = overridden(Capabilities(), {key: fact.value for key, fact in facts.items()})
    except InvalidField as error:
        raise InvalidField(f"capabilities.{error.field}", error.problem) from None
    return Profile(
        name=values.name(name, "name"),
        title=_text(data.get("title"), "title"),
        capabilities=capabilities,
        facts={key: facts[key] for key in NAMES},
        wire=_wire(wire_facts),
        wire_facts=wire_facts,
        notes=tuple(_text(note, "notes") for note in data.get("notes", ())),
    )


def _facts(data: Any, place: str) -> dict[str, Fact]:
    if not isinstance(data, dict):
        raise InvalidField(place, "is a table")
    return {key: _fact(entry, f"{place}.{key}") for key, entry in data.items()}


def _fact(entry: Any, place: str) -> Fact:
    parts = Fact.__struct_fields__
    if not isinstance(entry, dict) or set(entry) != set(parts):
        raise InvalidField(place, f"is a table of just: {', '.join(parts)}")
    return Fact(
        value=entry["value"],
        certainty=values.choice(Certainty, entry["certainty"], f"{place}.certainty"),
        source=_text(entry["source"], f"{place}.source"),
    )


def _wire(facts: Mapping[str, Fact]) -> Wire:
    for key, fact in facts.items():
        if key not in Wire.__struct_fields__:
            raise InvalidField(f"wire.{key}", f"is not known; known here: {', '.join(Wire.__struct_fields__)}")
        try:
            msgspec.convert({key: fact.value}, Wire)
        except msgspec.ValidationError as error:
            raise InvalidField(f"wire.{key}", str(error)) from None
    return msgspec.convert({key: fact.value for key, fact in facts.items()}, Wire)


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidField(place, "is missing, or not text")
    return value


def _folder() -> Any:
    from importlib.resources import files  # noqa: PLC0415 - costs every command time, and few of them read a profile

    return files("onefill.venues") / _FOLDER


def effective(profile: str | None, overrides: Mapping[str, Any], declared: Capabilities) -> Capabilities:
    """Return what holds at a venue: what it ``declared``, or the ``profile`` in place of all that, then the ``overrides``.

    Raises :class:`~onefill.core.errors.InvalidField` as :func:`load` and
    :func:`~onefill.core.venue_words.overridden` do.
    """
    return overridden(declared if profile is None else load(profile).capabilities, overrides)
