"""The ``[venues.NAME]`` parts of a settings file: how venues are reached, and what is to be believed of them."""

import difflib
import importlib
import importlib.util
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from onefill.core import values
from onefill.core.capabilities import Capabilities
from onefill.core.errors import InvalidField, SettingsError
from onefill.venues import profile as profiles
from onefill.venues.ccxt.credentials import CREDENTIALS

URL: Final = "http://host:port"
_CLIENT_KEYS: Final = ("rateLimit", "enableRateLimit", "has", "hostname", "userAgent", "aiohttp_trust_env")
_RETRIES: Final = ("maxRetriesOnFailure", "maxRetriesOnFailureDelay")
_PREFIX: Final = re.compile(r"[A-Z][A-Z0-9_]{0,31}", re.ASCII)


class Believed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every venue's settings have: what to believe of it, in place of what it declares itself.

    ``profile`` names what the venue is known to promise; ``capabilities`` replaces single values of that, or of its own word
    (``unique_scope = "open"``). Both are the user's word: also where they trust the venue more. ``control`` replaces single
    thresholds of ``[control]``; ``callbacks`` says how the venue signs its callbacks.
    """

    kind: str
    url: str | None
    timeout_s: float
    profile: str | None = None
    capabilities: dict[str, Any] = {}
    control: dict[str, Any] = {}
    callbacks: dict[str, Any] | None = None

    def effective(self, declared: Capabilities) -> Capabilities:
        """Return what holds at this venue, which ``declared`` those capabilities itself."""
        return profiles.effective(self.profile, self.capabilities, declared)

    def overrides(self) -> dict[str, Any]:
        """Return the values that count in place of what the venue declares: all of the profile's, then the single ones."""
        known: dict[str, Any] = {}
        if self.profile is not None:
            known = msgspec.structs.asdict(profiles.load(self.profile).capabilities)
            known["id_format"] = msgspec.structs.asdict(known["id_format"])
        return known | self.capabilities

    def _check(self) -> None:
        """Refuse what cannot work."""
        if self.url is not None:
            _check_url(self.url)
        if not (math.isfinite(self.timeout_s) and 0 < self.timeout_s < 1e6):
            raise InvalidField("timeout_s", f"{self.timeout_s:g} is not a duration above zero, in seconds")
        if self.profile is not None:
            profiles.load(self.profile)
        try:
            self.effective(Capabilities())
        except InvalidField as error:
            raise InvalidField(f"capabilities.{error.field}", error.problem) from None


class VenueSettings(Believed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reach a simulated exchange: its ``url``; ``timeout_s`` bounds every call, in seconds.

    Checked on construction; raises :class:`~onefill.core.errors.InvalidField`.
    """

    kind: Literal["exchange"] = "exchange"
    url: str
    timeout_s: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        self._check()


class CcxtSettings(Believed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reach a real venue through ccxt. Checked on construction; raises :class:`~onefill.core.errors.InvalidField`.

    * ``exchange``: what ccxt calls the venue; its known profile counts unless ``profile`` names another.
    * ``account``: the account here that the credentials belong to; orders of any other are refused.
    * ``credentials``: the beginning of the names of environment variables that hold them: with ``BINANCE`` they are
      ``BINANCE_API_KEY``, ``BINANCE_SECRET`` and so on. They are read when the venue is used, and stand nowhere else.
    * ``testnet``: the venue's own test network. ``url``: another address, such as an imitation's, in place of the venue's.
    * ``instruments``: the symbols that are traded, as ccxt writes them; empty: every one that the venue lists.
    * ``options``: ccxt's options of that venue. ``config``: what else its client is made with, such as ``rateLimit`` (ms).
    """

    kind: Literal["ccxt"] = "ccxt"
    url: str | None = None
    timeout_s: float = 10.0
    exchange: str
    account: str = "main"
    credentials: str | None = None
    testnet: bool = False
    instruments: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    config: dict[str, Any] = {}

    def __post_init__(self) -> None:
        """Refuse what cannot work; take the exchange's profile where none is named."""
        _check_exchange(self.exchange)
        if self.profile is None:
            msgspec.structs.force_setattr(self, "profile", _profile_of(self.exchange))
        self._check()
        values.name(self.account, "account")
        for symbol in self.instruments:
            values.name(symbol, "instruments")
        if self.testnet and self.url is not None:
            raise InvalidField("testnet", "leads to the venue's own test network, and url somewhere else; choose one")
        if self.credentials is not None and not _PREFIX.fullmatch(self.credentials):
            # It may be the secret itself, so it is not shown.
            raise InvalidField(
                "credentials",
                "is not the beginning of a variable's name in capitals, such as BINANCE; secrets stay outside the file",
            )
        _check_client(self.options, "options", None)
        _check_client(self.config, "config", _CLIENT_KEYS)

    def client_config(self, field: str) -> dict[str, Any]:
        """Return what ccxt's client is made with, credentials of the environment included: never to be shown or kept.

        ``field`` is what errors name, such as ``venues.binance.credentials``. Raises
        :class:`~onefill.core.errors.SettingsError`, which names variables and never what they hold.
        """
        found = self._credentials(field)
        return {**self.config, **({"options": dict(self.options)} if self.options else {}), **found}

    def _credentials(self, field: str) -> dict[str, str]:
        needed = _needed(self.exchange)
        if self.credentials is None:
            if needed:
                raise SettingsError(
                    f"{field}: is missing; {self.exchange} needs {', '.join(needed)}: name the beginning of the "
                    "environment variables that hold them. Nothing was started"
                )
            return {}
        held = {name: os.environ.get(f"{self.credentials}_{name}", "").strip() for name in CREDENTIALS}
        missing = [f"{self.credentials}_{name}" for name in needed if not held[name]]
        if missing:
            raise SettingsError(f"{field}: the environment has no {' and no '.join(missing)}. Nothing was started")
        return {CREDENTIALS[name]: _unfolded(value) for name, value in held.items() if value}


AnyVenue = VenueSettings | CcxtSettings
KINDS: Final[dict[str, type[VenueSettings] | type[CcxtSettings]]] = {"exchange": VenueSettings, "ccxt": CcxtSettings}


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidField("url", f"{url!r} is not of the form {URL}")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise InvalidField("url", f"{url!r} says more than {URL}; an exchange takes no path, query or user there")


def _check_exchange(exchange: str) -> None:
    """Refuse what ccxt does not know. The library is only looked for here, not loaded: it takes its time."""
    folder = _library()
    if folder is None:
        raise InvalidField("kind", "ccxt is not installed: `pip install 'onefill[ccxt]'`")
    if exchange.isalnum() and (folder / "async_support" / f"{exchange}.py").is_file():
        return
    known = sorted(file.stem for file in (folder / "async_support").glob("*.py") if file.stem != "__init__")
    near = difflib.get_close_matches(exchange.lower(), known, 3, 0.6)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise InvalidField("exchange", f"{exchange[: values.MAX_NAME]!r} is no exchange that ccxt knows{hint}")


def _library() -> Path | None:
    spec = importlib.util.find_spec("ccxt")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _profile_of(exchange: str) -> str | None:
    from onefill.venues.ccxt.manners import manners_of  # noqa: PLC0415 - only for venues of this kind

    return manners_of(exchange).profile


def _needed(exchange: str) -> list[str]:
    """Return the parts of a credential that ccxt needs for private requests, as environment variables end."""
    library = importlib.import_module("ccxt.async_support")  # takes its time
    required: dict[str, bool] = getattr(library, exchange)().requiredCredentials
    return [name for name, called in CREDENTIALS.items() if required.get(called)]


def _unfolded(value: str) -> str:
    """Return a credential as ccxt takes it: a PEM key that an environment file holds in one line gets its lines back."""
    return value.replace("\\n", "\n") if value.startswith("-----BEGIN") else value


def _check_client(given: dict[str, Any], place: str, known: Iterable[str] | None) -> None:
    for name in given:
        field = f"{place}.{name}"
        if name in CREDENTIALS.values():
            raise InvalidField(
                field, "is a secret, and not for this file: name the variables' beginning as credentials"
            )
        if name in _RETRIES:
            raise InvalidField(field, "makes ccxt send again by itself, which is never safe; leave it out")
        if known is not None and name not in known:
            raise InvalidField(field, f"is not taken here; known here: {', '.join(known)}")
