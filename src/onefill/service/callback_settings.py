"""The ``[callbacks]`` part of a settings file, and ``[venues.NAME.callbacks]``: who may tell, and how that is shown."""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from enum import EnumMeta, StrEnum
from typing import Any, TypeVar

import msgspec

from onefill.core.errors import InvalidField, SettingsError
from onefill.core.inbox import (
    TOLERANCE_S,
    HashName,
    HmacRules,
    Spelling,
    TimeUnit,
    Verifier,
    standard_key,
)
from onefill.service import secret_text
from onefill.service.listening import host_port

Part = TypeVar("Part", bound=msgspec.Struct)
_MOST_BODY_BYTES = 1 << 20


class Scheme(StrEnum):
    """How a venue signs its callbacks."""

    STANDARD = "standard"
    """Standard Webhooks."""
    HMAC = "hmac"
    """A plain HMAC under a header of its own."""


class SecretSpelling(StrEnum):
    """How the key of a plain HMAC stands in its file."""

    TEXT = "text"
    HEX = "hex"
    BASE64 = "base64"


_RULES = tuple(field.name for field in msgspec.structs.fields(HmacRules))


class CallbackSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How callbacks of a venue are verified.

    ``secrets``: each ``env:NAME`` or ``file:PATH``; any of them may have signed. The other keys belong to the scheme ``hmac``
    and are those of :class:`~onefill.core.inbox.HmacRules`; ``secret_spelling`` says how its secrets are written.
    """

    scheme: Scheme = Scheme.STANDARD
    secrets: tuple[str, ...]
    tolerance_s: float = TOLERANCE_S
    secret_spelling: SecretSpelling | None = None
    header: str | None = None
    hash: HashName | None = None
    spelling: Spelling | None = None
    prefix: str | None = None
    signed: str | None = None
    timestamp_header: str | None = None
    timestamp_unit: TimeUnit | None = None
    id_header: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not self.secrets:
            raise InvalidField("secrets", "is empty; without a secret nothing can be verified")
        if not all(map(secret_text.is_elsewhere, self.secrets)):
            raise InvalidField(
                "secrets", "holds something other than env:NAME or file:PATH; secrets do not belong here"
            )
        if not 0 < self.tolerance_s < 1e9:
            raise InvalidField("tolerance_s", f"{self.tolerance_s:g} is not a duration above zero, in seconds")
        if self.scheme is Scheme.STANDARD:
            for name in ("secret_spelling", *_RULES):
                if getattr(self, name) is not None:
                    raise InvalidField(name, f'belongs to scheme = "{Scheme.HMAC}"; Standard Webhooks leaves no choice')
        else:
            self.rules()

    def rules(self) -> HmacRules | None:
        """Return how a plain HMAC is read, ``None`` for Standard Webhooks. Raises :class:`InvalidField`."""
        if self.scheme is Scheme.STANDARD:
            return None
        if self.header is None:
            raise InvalidField("header", "is missing; it is the one with the signature")
        return HmacRules(**{name: value for name in _RULES if (value := getattr(self, name)) is not None})

    def verifier(self, place: str = "callbacks") -> Verifier:
        """Read the secrets. Raises :class:`SettingsError`, which names the setting under ``place`` and shows no secret."""
        keys = tuple(self._key(one, f"{place}.secrets[{number}]") for number, one in enumerate(self.secrets))
        return Verifier(keys=keys, hmac=self.rules(), tolerance_s=self.tolerance_s)

    def _key(self, secret: str, field: str) -> bytes:
        try:
            text = secret_text.read(secret, field)
            if self.scheme is Scheme.STANDARD:
                return standard_key(text)
            key = _SPELT[self.secret_spelling or SecretSpelling.TEXT](text)
            Verifier(keys=(key,))  # long enough
            return key
        except InvalidField as error:
            raise SettingsError(f"{field}: {error.problem}. Nothing was started") from None
        except ValueError:  # its text may hold the secret
            raise SettingsError(f"{field}: is not spelt as the settings say. Nothing was started") from None


def _base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


_SPELT: dict[SecretSpelling, Callable[[str], bytes]] = {
    SecretSpelling.TEXT: lambda text: text.encode(),
    SecretSpelling.HEX: binascii.unhexlify,
    SecretSpelling.BASE64: _base64,
}


class CallbackPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Where callbacks come in, and how those of each venue are verified.

    ``listen`` is HOST:PORT; without it nothing is served. ``most_body_bytes``: of a body; a larger one is refused unread.
    ``retry_after_s``: when to send again what cannot be taken in now.
    """

    listen: str | None = None
    most_body_bytes: int = _MOST_BODY_BYTES
    retry_after_s: int = 5
    venues: dict[str, CallbackSettings] = {}

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.listen is not None and host_port(self.listen) is None:
            raise InvalidField("listen", f"{self.listen!r} is not of the form HOST:PORT, such as 127.0.0.1:8790")
        if not 0 < self.most_body_bytes <= 1 << 30:
            raise InvalidField("most_body_bytes", f"{self.most_body_bytes} is not from 1 to {1 << 30:,}")
        if not 0 < self.retry_after_s <= 86_400:
            raise InvalidField("retry_after_s", f"{self.retry_after_s} is not from 1 to 86,400")

    def of(self, route: str) -> CallbackSettings | None:
        """Return a route's settings. ``VENUE`` counts for ``VENUE:ACCOUNT`` too."""
        return self.venues.get(route) or self.venues.get(route.partition(":")[0])

    def verifiers(self, routes: Iterable[str]) -> dict[str, Verifier]:
        """Read the secrets for those of ``routes`` whose venue has settings here. Raises :class:`SettingsError`.

        Also where callbacks are to be served and no venue's could be verified.
        """
        if self.listen is not None and not self.venues:
            raise SettingsError(
                "callbacks.listen: is set, and no venue has a table [venues.NAME.callbacks] with its secrets: nothing could be "
                "verified. Nothing was started"
            )
        wanted = {route: settings for route in routes if (settings := self.of(route)) is not None}
        places = {id(settings): f"venues.{name}.callbacks" for name, settings in self.venues.items()}
        return {route: settings.verifier(places[id(settings)]) for route, settings in wanted.items()}


_PLAN_KEYS = ("listen", "most_body_bytes", "retry_after_s")


def read(common: Any, venues: Mapping[str, Any]) -> CallbackPlan:
    """Return the plan of a file's ``callbacks`` table and each venue's own. Raises InvalidField with the key's path."""
    plan = _part(common, CallbackPlan, "callbacks", _PLAN_KEYS)
    known = tuple(field.name for field in msgspec.structs.fields(CallbackSettings))
    own = {
        name: _part(table, CallbackSettings, f"venues.{name}.callbacks", known)
        for name, table in venues.items()
        if table is not None
    }
    return msgspec.structs.replace(plan, venues=own)


def _part(data: Any, kind: type[Part], place: str, known: tuple[str, ...]) -> Part:
    if not isinstance(data, dict):
        raise InvalidField(place, f"is a table: write [{place}] and its keys below")
    fields = {field.name: field for field in msgspec.structs.fields(kind) if field.name in known}
    for key, value in data.items():
        if key not in fields:
            raise InvalidField(f"{place}.{key}", f"is not a setting; known here: {', '.join(known)}")
        try:
            msgspec.convert(value, fields[key].type)
        except msgspec.ValidationError as error:
            shown = "what stands there" if key == "secrets" else repr(value)
            raise InvalidField(f"{place}.{key}", f"{shown} {_wanted(fields[key].type, str(error))}") from None
    missing = next((name for name, field in fields.items() if field.required and name not in data), None)
    if missing is not None:
        raise InvalidField(f"{place}.{missing}", f"is missing; [{place}] needs it")
    try:
        return msgspec.convert(data, kind)
    except InvalidField as error:
        raise InvalidField(f"{place}.{error.field}", error.problem) from None


def _wanted(kind: Any, problem: str) -> str:
    for one in (kind, *getattr(kind, "__args__", ())):
        if isinstance(one, EnumMeta):
            members: dict[str, Any] = dict(one.__members__)
            return f"is none of: {', '.join(str(member) for member in members.values())}"
    return f"is not what is wanted: {problem[:1].lower()}{problem[1:]}"
