"""``onefill venues``: what is known of each venue, how surely, and what the gateway does there after a time-out."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from typer.core import TyperGroup

from onefill.cli import options
from onefill.cli.output import print_json, print_table, remark, say, told
from onefill.cli.venue_check_command import check
from onefill.core.capabilities import Capabilities
from onefill.core.contract_words import SITUATIONS, after_time_out, tell
from onefill.core.errors import InvalidField
from onefill.core.venue_words import NAMES, plain_value, shown, trusts_more
from onefill.service.venue_settings import AnyVenue
from onefill.venues import profile as profiles
from onefill.venues.profile import Fact, Profile

_DECLARED: Final = "as declared"
_OVERRIDDEN: Final = "overridden"
_LISTED: Final = (
    ("unique_scope", "unique"),
    ("duplicate_reply", "duplicate"),
    ("lookup", "look-up"),
    ("request_expiry_s", "expiry"),
    ("conclusive_after_s", "T"),
    ("replace", "replace"),
)


class _Value(msgspec.Struct, frozen=True, kw_only=True):
    """One capability as it holds. ``value`` is unset where the venue declares it only when it is started."""

    value: Any = msgspec.UNSET
    certainty: str = ""
    source: str = ""
    overridden: bool = False
    trusts_more: bool = False
    before: Any = msgspec.UNSET
    """What the profile says, where that is overridden."""

    @property
    def text(self) -> str:
        """The value as a table shows it, overrides marked."""
        if self.value is msgspec.UNSET:
            return _DECLARED
        return shown(self.value) + ("**" if self.trusts_more else "*" if self.overridden else "")


class _Venue(msgspec.Struct, frozen=True, kw_only=True):
    """A profile, or a venue of a settings file. ``capabilities`` are ``None`` while not all of them are known."""

    name: str
    profile: Profile | None
    values: dict[str, _Value]
    capabilities: Capabilities | None

    @property
    def title(self) -> str:
        """What it is."""
        return "declares its own capabilities when it is started" if self.profile is None else self.profile.title

    @property
    def after_time_out(self) -> str:
        """What happens after a lost reply."""
        return _DECLARED if self.capabilities is None else after_time_out(self.capabilities)


class _Venues(TyperGroup):
    """Shows venues unless a subcommand is named, so that ``onefill venues NAME`` is the short form of ``venues show NAME``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the subcommand in where it was left out."""
        if not args or not (args[0] in self.commands or args[0] in ctx.help_option_names):
            args = ["show", *args]
        return super().parse_args(ctx, args)


venues_app = typer.Typer(
    cls=_Venues,
    help="What is known of each venue, and what happens there after a time-out; `check` tries it on a real one.",
)


@venues_app.command("show")
def venues(
    name: Annotated[str | None, typer.Argument(help="A profile, or with --settings one of the file's venues.")] = None,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Show what is known of each venue, and what happens there after a time-out. `show` itself may be left out."""
    with told(as_json=as_json):
        found = _of_profiles(name) if settings is None else _of_settings(settings, name)
        if name is not None:
            _show_one(found[0], as_json=as_json)
        elif as_json:
            print_json([_listed_json(venue) for venue in found])
        elif found:
            _print_list(found)
        else:
            remark("the settings file names no venues")


def _of_profiles(name: str | None) -> list[_Venue]:
    wanted = profiles.names() if name is None else (name,)
    return [_of_profile(profiles.load(one)) for one in wanted]


def _of_profile(profile: Profile) -> _Venue:
    values = {
        name: _Value(value=getattr(profile.capabilities, name), certainty=fact.certainty, source=fact.source)
        for name, fact in profile.facts.items()
    }
    return _Venue(name=profile.name, profile=profile, values=values, capabilities=profile.capabilities)


def _of_settings(path: Path, name: str | None) -> list[_Venue]:
    configured = options.load_settings(path).venues
    if name is not None and name not in configured:
        near = difflib.get_close_matches(name, configured, 3, 0.5) or sorted(configured)
        raise InvalidField("NAME", f"{name!r} is no venue of {path}; nearest: {', '.join(near) or 'it has none'}")
    return [_of_venue(one, configured[one], path) for one in ([name] if name is not None else sorted(configured))]


def _of_venue(name: str, venue: AnyVenue, path: Path) -> _Venue:
    """Return a venue of a settings file: its profile's values, or its own word, with the user's in their place."""
    profile = None if venue.profile is None else profiles.load(venue.profile)
    values = {} if profile is None else _of_profile(profile).values
    effective = venue.effective(Capabilities())
    for given in venue.capabilities:
        value, before = getattr(effective, given), values.get(given)
        values[given] = _Value(
            value=value,
            certainty=_OVERRIDDEN,
            source=f"{path}, venues.{name}.capabilities",
            overridden=True,
            trusts_more=before is not None and trusts_more(given, before.value, value),
            before=msgspec.UNSET if before is None else before.value,
        )
    known = effective if len(values) == len(NAMES) else None
    ordered = {one: values.get(one, _Value(source="the venue, when it is started")) for one in NAMES}
    return _Venue(name=name, profile=profile, values=ordered, capabilities=known)


# ---------------------------------------------------------------------- the list


def _print_list(found: list[_Venue]) -> None:
    columns = [("name", "left"), *((heading, "left") for _, heading in _LISTED), ("after a time-out", "left")]
    rows = [(v.name, *(v.values[name].text for name, _ in _LISTED), v.after_time_out) for v in found]
    print_table("", columns, rows, spare=("expiry", "duplicate", "replace"))
    _print_legend(found)


def _print_legend(found: list[_Venue]) -> None:
    marked = [value for venue in found for value in venue.values.values() if value.overridden]
    if marked:
        remark("* overridden in the settings")
    if any(value.trusts_more for value in marked):
        remark("** overridden, and trusts the venue more than its profile does")


def _listed_json(venue: _Venue) -> dict[str, object]:
    return {
        "name": venue.name,
        "title": venue.title,
        "profile": None if venue.profile is None else venue.profile.name,
        **{name: plain_value(value.value) for name, value in venue.values.items() if value.value is not msgspec.UNSET},
        "overridden": [name for name, value in venue.values.items() if value.overridden],
        "trusts_more": [name for name, value in venue.values.items() if value.trusts_more],
        "after_time_out": None if venue.capabilities is None else venue.after_time_out,
    }


# ---------------------------------------------------------------------- one venue


def _show_one(venue: _Venue, *, as_json: bool) -> None:
    if as_json:
        print_json(_one_json(venue))
        return
    beside = "" if venue.profile is None or venue.profile.name == venue.name else f", profile {venue.profile.name}"
    say(f"{venue.name}: {venue.title}{beside}\n")
    _print_facts("capability", [(name, v.text, v.certainty, _source(v)) for name, v in venue.values.items()])
    if venue.profile is not None:
        wire = venue.profile.wire_facts
        say("")
        _print_facts("on the wire", [(name, _wire_text(f), f.certainty, f.source) for name, f in wire.items()])
        say("\nnotes")
        for note in venue.profile.notes:
            say(f"- {note}")
    if venue.capabilities is not None:
        say(f"\nafter a time-out: {venue.after_time_out}")
        say("\nwhat happens, with times from the first claim and a call that lasts 1 s at most")
        for title, words in _situations(venue.capabilities).items():
            say(f"- {title}: {words}")
    _print_legend([venue])


def _print_facts(heading: str, rows: list[tuple[str, str, str, str]]) -> None:
    columns = [(heading, "left"), ("value", "left"), ("certainty", "left"), ("source", "left")]
    print_table("", columns, rows)


def _source(value: _Value) -> str:
    return value.source if value.before is msgspec.UNSET else f"{value.source}; profile: {shown(value.before)}"


def _wire_text(fact: Fact) -> str:
    return ", ".join(map(str, fact.value)) if isinstance(fact.value, list) else shown(fact.value)


def _situations(capabilities: Capabilities) -> Mapping[str, str]:
    return {one.title: tell(one, capabilities).words for one in SITUATIONS}


def _one_json(venue: _Venue) -> dict[str, object]:
    profile = venue.profile
    return {
        "name": venue.name,
        "title": venue.title,
        "profile": None if profile is None else profile.name,
        "capabilities": {name: _value_json(value) for name, value in venue.values.items()},
        "wire": {} if profile is None else profile.wire_facts,
        "notes": () if profile is None else profile.notes,
        "after_time_out": None if venue.capabilities is None else venue.after_time_out,
        "situations": {} if venue.capabilities is None else _situations(venue.capabilities),
    }


def _value_json(value: _Value) -> dict[str, object]:
    if value.value is msgspec.UNSET:
        return {"source": value.source}
    plain: dict[str, object] = {
        "value": plain_value(value.value),
        "certainty": value.certainty,
        "source": value.source,
    }
    if value.overridden:
        plain |= {"overridden": True, "trusts_more": value.trusts_more}
    if value.before is not msgspec.UNSET:
        plain["profile_value"] = plain_value(value.before)
    return plain


venues_app.command("check")(check)
