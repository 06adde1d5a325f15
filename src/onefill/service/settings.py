"""Settings files: TOML with every key checked. A wrong one is named with its place and what would be right."""

from pathlib import Path
from typing import Literal

import msgspec

from onefill.core.errors import CallerError, InvalidField, SettingsError
from onefill.engine.settings import GatewaySettings


class VenueSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reach a venue. ``kind`` says by which adapter; ``timeout_s`` bounds every call."""

    kind: Literal["exchange"] = "exchange"
    url: str
    timeout_s: float = 1.0


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole settings file: ``[gateway]`` and one ``[venues.NAME]`` for each venue."""

    gateway: GatewaySettings = GatewaySettings()
    venues: dict[str, VenueSettings] = {}


def load(path: Path) -> Settings:
    """Read a settings file. Raises :class:`SettingsError` naming the file, the key and what is expected there."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return msgspec.toml.decode(data, type=Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{path}: {error}. Nothing was started") from error
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidField) as error:
        raise SettingsError(f"{path}: is not usable as TOML settings: {error}. Nothing was started") from error


def venue(settings: Settings, text: str, timeout_s: float | None) -> tuple[str, VenueSettings]:
    """Return (name, settings) of the venue that ``text`` names: one of the file's, or the URL of a simulated exchange."""
    if text.startswith(("http://", "https://")):
        return "exchange", VenueSettings(url=text, timeout_s=timeout_s or 1.0)
    found = settings.venues.get(text)
    if found is None:
        known = ", ".join(sorted(settings.venues)) or "none"
        raise CallerError(f"--venue: {text!r} is neither a URL nor a venue of the settings file (there: {known})")
    return text, found if timeout_s is None else msgspec.structs.replace(found, timeout_s=timeout_s)
