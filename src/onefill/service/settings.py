"""Settings files: TOML with every key checked. A wrong one is named with its place and what would be right."""

import math
from enum import EnumMeta
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from onefill.core import values
from onefill.core.errors import CallerError, InvalidField, SettingsError
from onefill.core.risk_limits import Risk
from onefill.engine.controller import ControlPlan
from onefill.engine.settings import GatewaySettings, NodeSettings, ReconcileSettings
from onefill.service import (
    callback_settings,
    control_settings,
    reconcile_settings,
    risk_settings,
    subscriber_settings,
)
from onefill.service.callback_settings import CallbackPlan
from onefill.service.listening import host_port
from onefill.service.subscriber_settings import SubscriberSettings
from onefill.service.venue_settings import KINDS, URL, AnyVenue, VenueSettings

Part = TypeVar("Part", bound=msgspec.Struct)


class AuditSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Signed checkpoints of the journal, made by the gateway itself once ``key`` is set, and always when it closes.

    ``key``: the private key's file; ``checkpoints``: the file outside the ledger to which each is added. One is made when
    ``every_entries`` were written, and after ``every_s`` if anything was.
    """

    key: str | None = None
    checkpoints: str | None = None
    every_entries: int = 10_000
    every_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.key == "" or self.checkpoints == "":
            raise InvalidField("key" if self.key == "" else "checkpoints", "is empty; name a file")
        if self.key is not None and self.checkpoints is None:
            raise InvalidField(
                "checkpoints",
                "is missing; checkpoints in the ledger alone are cut off with its end: name a file elsewhere",
            )
        if self.checkpoints is not None and self.key is None:
            raise InvalidField("key", "is missing; checkpoints are signed: `onefill audit keygen PATH` makes a key")
        if self.every_entries < 1:
            raise InvalidField("every_entries", f"{self.every_entries} is not above zero")
        if not (math.isfinite(self.every_s) and 0 < self.every_s < 1e9):
            raise InvalidField("every_s", f"{self.every_s:g} is not a duration above zero, in seconds")


class MetricsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where Prometheus finds the figures of a running gateway: ``listen`` is HOST:PORT; without it nothing is served.

    Port 0 takes a free one. There is no password: keep it on the host itself, or on a network of your own.
    """

    listen: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.listen is not None and host_port(self.listen) is None:
            raise InvalidField("listen", f"{self.listen!r} is not of the form HOST:PORT, such as 127.0.0.1:9464")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole settings file: ``[gateway]``, one ``[venues.NAME]`` for each venue, ``[audit]``, ``[metrics]``, ``[risk]``,
    ``[control]``, ``[reconcile]``, ``[callbacks]``, one ``[subscribers.NAME]`` for each subscriber, and ``[node]`` where
    several processes share a ledger.
    """

    gateway: GatewaySettings = GatewaySettings()
    venues: dict[str, AnyVenue] = {}
    audit: AuditSettings = AuditSettings()
    metrics: MetricsSettings = MetricsSettings()
    risk: Risk | None = None
    control: ControlPlan = ControlPlan()
    reconcile: ReconcileSettings = ReconcileSettings()
    node: NodeSettings | None = None
    subscribers: dict[str, SubscriberSettings] = {}
    callbacks: CallbackPlan = CallbackPlan()


def load(path: Path) -> Settings:
    """Read a settings file. Raises :class:`SettingsError` naming the file, the key and what is expected there."""
    try:
        data = msgspec.toml.decode(path.read_bytes())
        if not isinstance(data, dict):
            raise InvalidField("file", "is not a table")
        return _settings(data)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror or error}. Nothing was started") from error
    except InvalidField as error:
        raise SettingsError(f"{path}: {error}. Nothing was started") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not TOML: {error}. Nothing was started") from error


def _settings(data: dict[str, Any]) -> Settings:
    _known_keys(data, Settings, "")
    venues = {
        values.name(name, f"venues.{name}"): _venue(venue, f"venues.{name}")
        for name, venue in _table(data.get("venues", {}), "venues").items()
    }
    reconcile = reconcile_settings.read(data.get("reconcile", {}))
    if "reconcile" in _table(data.get("gateway", {}), "gateway"):
        raise InvalidField("gateway.reconcile", "is a table of its own: write [reconcile]")
    gateway = _part(data.get("gateway", {}), GatewaySettings, "gateway")
    return Settings(
        gateway=msgspec.structs.replace(gateway, reconcile=reconcile),
        reconcile=reconcile,
        venues=venues,
        audit=_part(data.get("audit", {}), AuditSettings, "audit"),
        metrics=_part(data.get("metrics", {}), MetricsSettings, "metrics"),
        node=_part(data["node"], NodeSettings, "node") if "node" in data else None,
        risk=risk_settings.read(data.get("risk")),
        control=control_settings.read(data.get("control", {}), {name: one.control for name, one in venues.items()}),
        subscribers=subscriber_settings.read(data.get("subscribers", {})),
        callbacks=callback_settings.read(
            data.get("callbacks", {}), {name: one.callbacks for name, one in venues.items()}
        ),
    )


def _venue(data: Any, place: str) -> AnyVenue:
    kind = _table(data, place).get("kind", "exchange")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidField(f"{place}.kind", f"{kind!r} is none of: {', '.join(KINDS)}")
    return _part(data, KINDS[kind], place)


def _part(data: Any, kind: type[Part], place: str) -> Part:
    """Return one table of the file as ``kind``, or raise InvalidField naming the key by its whole path."""
    data = _table(data, place)
    _known_keys(data, kind, place + ".")
    for field in msgspec.structs.fields(kind):
        key = f"{place}.{field.name}"
        if field.name not in data:
            if field.required:
                raise InvalidField(key, f"is missing; [{place}] needs it")
            continue
        try:
            msgspec.convert(data[field.name], field.type)
        except msgspec.ValidationError as error:
            raise InvalidField(key, f"{data[field.name]!r} {_wanted(field, str(error))}") from None
    try:
        return msgspec.convert(data, kind)
    except InvalidField as error:
        raise InvalidField(f"{place}.{error.field}", error.problem) from None


def _table(data: Any, place: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InvalidField(place, f"is a table: write [{place}] and its keys below")
    return data


def _known_keys(data: dict[str, Any], kind: type[msgspec.Struct], prefix: str) -> None:
    known = [field.name for field in msgspec.structs.fields(kind)]
    for name in data:
        if name not in known:
            raise InvalidField(f"{prefix}{name}", f"is not a setting; known here: {', '.join(known)}")


def _wanted(field: msgspec.structs.FieldInfo, problem: str) -> str:
    names: list[str] = []
    if get_origin(field.type) is Literal:
        names = [str(one) for one in get_args(field.type)]
    elif isinstance(field.type, EnumMeta):
        members: dict[str, Any] = dict(field.type.__members__)
        names = [str(one) for one in members.values()]
    if names:
        return f"is none of: {', '.join(names)}"
    if get_origin(field.type) is dict:
        return "is no table: write its keys below a heading of their own"
    hint = "; a duration is a number of seconds, such as 2.5" if field.name.endswith("_s") else ""
    return f"is not what is wanted: {problem[:1].lower()}{problem[1:]}{hint}"


def venue(settings: Settings, text: str, timeout_s: float | None) -> tuple[str, AnyVenue]:
    """Return (name, settings) of the venue that ``text`` names: one of the file's, or the URL of a simulated exchange."""
    if "://" in text:
        try:
            return "exchange", VenueSettings(url=text, timeout_s=timeout_s or 1.0)
        except InvalidField as error:
            raise InvalidField("--venue", error.problem) from None
    found = settings.venues.get(text)
    if found is None:
        known = ", ".join(sorted(settings.venues)) or "none"
        raise CallerError(
            f"--venue: {text!r} is neither a URL ({URL}) nor a venue of the settings file (there: {known}). "
            "Nothing was started"
        )
    return text, found if timeout_s is None else msgspec.structs.replace(found, timeout_s=timeout_s)
