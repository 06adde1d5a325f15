"""Callbacks from outside: how one is shown to come from who it should, and what it is known by.

Two families of signatures are known. **Standard Webhooks** signs ``id.timestamp.body`` and names all three in headers. **Plain
HMAC** headers differ from venue to venue; what is signed, in which spelling and under which header is a setting
(:class:`HmacRules`). Whatever cannot be verified is refused. An error never holds a secret, or a signature computed here.

Pure: headers, body, keys and the time come in, a value or an error comes out.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from onefill.core.errors import CallbackUnreadable, InvalidField, NotVerified
from onefill.core.messages import ExecutionReport

STANDARD_ID = "webhook-id"
STANDARD_TIMESTAMP = "webhook-timestamp"
STANDARD_SIGNATURE = "webhook-signature"
TOLERANCE_S = 300.0
"""How far a callback's time may be from ours, by default, before and behind."""
LEAST_KEY_BYTES = 16
MOST_EVENT_ID = 200
_MOST_SIGNATURES = 20
_PREFIX = "whsec_"
_VERSION = "v1"
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,17}", re.ASCII)
_PLACE = re.compile(r"\{([^{}]*)\}")

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class HashName(StrEnum):
    """The hash under an HMAC."""

    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"


class Spelling(StrEnum):
    """How the bytes of a signature are written."""

    HEX = "hex"
    BASE64 = "base64"


class TimeUnit(StrEnum):
    """What a timestamp header counts since 1970."""

    SECONDS = "s"
    MILLISECONDS = "ms"


_UNIT_US = {TimeUnit.SECONDS: 1_000_000, TimeUnit.MILLISECONDS: 1_000}


class HmacRules(msgspec.Struct, frozen=True, kw_only=True):
    """How a venue signs with a plain HMAC.

    ``header``: where the signature is; it may hold several, parted by commas or blanks, each after ``prefix``. ``signed``: what
    is signed, with ``{body}``, ``{timestamp}`` and ``{id}`` for the body and the values of ``timestamp_header`` and
    ``id_header``. A header that is named must be signed, as anybody could change it otherwise.
    """

    header: str
    hash: HashName = HashName.SHA256
    spelling: Spelling = Spelling.HEX
    prefix: str = ""
    signed: str = "{body}"
    timestamp_header: str | None = None
    timestamp_unit: TimeUnit = TimeUnit.SECONDS
    id_header: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work, or would let somebody change what counts."""
        for field in ("header", "timestamp_header", "id_header"):
            name = getattr(self, field)
            if name is not None and not _HEADER.fullmatch(name):
                raise InvalidField(field, f"{name[:40]!r} is not the name of an HTTP header")
        if any(char in self.prefix for char in ", \t"):
            raise InvalidField("prefix", "holds a comma or blank, which part several signatures from one another")
        rest = _PLACE.sub("", self.signed)
        places = _PLACE.findall(self.signed)
        if "{" in rest or "}" in rest or not set(places) <= {"body", "timestamp", "id"}:
            raise InvalidField("signed", "may hold {body}, {timestamp} and {id}, and no other braces")
        if places.count("body") != 1:
            raise InvalidField("signed", "must hold {body} once: what is not signed could be anybody's")
        for field, place in (("timestamp_header", "timestamp"), ("id_header", "id")):
            if (getattr(self, field) is None) != (place not in places):
                said = f"{field} and {{{place}}} in signed go together: what is not signed could be anybody's"
                raise InvalidField("signed", said)


class Verifier(msgspec.Struct, frozen=True, kw_only=True):
    """What shows that a callback comes from who it should.

    ``keys``: any one of them may have signed, so that a key can be replaced while both are in use. ``hmac``: how; without it
    Standard Webhooks. ``tolerance_s``: how far the time that is signed may be from ours; where none is signed, a repeat is
    known by its event id alone.
    """

    keys: tuple[bytes, ...]
    hmac: HmacRules | None = None
    tolerance_s: float = TOLERANCE_S

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not self.keys:
            raise InvalidField("keys", "is empty: without a key nothing can be verified")
        if any(len(key) < LEAST_KEY_BYTES for key in self.keys):
            raise InvalidField("keys", f"one is shorter than {LEAST_KEY_BYTES} bytes, which can be guessed")
        if not 0 < self.tolerance_s < 1e9:
            raise InvalidField("tolerance_s", f"{self.tolerance_s:g} is not a duration above zero, in seconds")

    def __repr__(self) -> str:
        """Name everything but the keys."""
        return f"Verifier(keys=<{len(self.keys)}>, hmac={self.hmac!r}, tolerance_s={self.tolerance_s!r})"


class Verified(msgspec.Struct, frozen=True):
    """What a verified callback says of itself, where its headers do: its event id and when it was sent."""

    event_id: str | None
    sent_at_us: int | None


class CallbackNews(msgspec.Struct, frozen=True):
    """What a venue's callback tells, in the words of its stream: reports, and the event's id if the body has one.

    The reports' ``position`` says nothing here: a callback has no place in a stream.
    """

    reports: tuple[ExecutionReport, ...]
    event_id: str | None = None


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a callback that was taken in, durably. ``repeated``: it was before, and nothing was done now."""

    event_id: str
    repeated: bool
    reports: int = 0


def standard_key(secret: str) -> bytes:
    """Return the key of a Standard Webhooks secret: base64, with or without ``whsec_`` before it.

    Raises :class:`InvalidField`, which does not show the secret.
    """
    try:
        key = base64.b64decode(secret.strip().removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidField("secret", f"is not base64, with or without {_PREFIX} before it") from None
    if len(key) < LEAST_KEY_BYTES:
        raise InvalidField("secret", f"has under {LEAST_KEY_BYTES} bytes, which can be guessed")
    return key


def standard_signature(key: bytes, event_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the signature that Standard Webhooks puts into its header."""
    made = hmac.digest(key, f"{event_id}.{timestamp_s}.".encode() + body, "sha256")
    return f"{_VERSION},{base64.b64encode(made).decode()}"


def standard_headers(key: bytes, event_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """Return the headers with which Standard Webhooks sends a body."""
    return {
        STANDARD_ID: event_id,
        STANDARD_TIMESTAMP: str(timestamp_s),
        STANDARD_SIGNATURE: standard_signature(key, event_id, timestamp_s, body),
    }


def verify(verifier: Verifier, headers: Headers, body: bytes, received_at_us: int) -> Verified:
    """Return what a callback says of itself, if it is genuine. Raises :class:`NotVerified`, which says what is wrong."""
    given = _Given(headers)
    if verifier.hmac is None:
        return _standard(verifier, given, body, received_at_us)
    return _plain(verifier, verifier.hmac, given, body, received_at_us)


def _standard(verifier: Verifier, given: "_Given", body: bytes, received_at_us: int) -> Verified:
    event_id = _event_id(STANDARD_ID, given.one(STANDARD_ID))
    if "." in event_id:
        # Its end could not be told from the beginning of what is signed behind it.
        raise NotVerified(f"{STANDARD_ID} holds a full stop, which the scheme does not allow")
    timestamp = given.one(STANDARD_TIMESTAMP)
    sent_at_us = _time(STANDARD_TIMESTAMP, timestamp, TimeUnit.SECONDS)
    told = given.one(STANDARD_SIGNATURE).split()
    signatures = [text for version, _, text in (one.partition(",") for one in told) if version == _VERSION]
    if not signatures:
        raise NotVerified(f"{STANDARD_SIGNATURE} holds no signature of version {_VERSION}")
    signed = f"{event_id}.{timestamp}.".encode() + body
    _check(verifier, HashName.SHA256, signed, [_decoded(text, Spelling.BASE64) for text in signatures])
    _check_time(verifier, sent_at_us, received_at_us)
    return Verified(event_id, sent_at_us)


def _plain(verifier: Verifier, rules: HmacRules, given: "_Given", body: bytes, received_at_us: int) -> Verified:
    told = given.one(rules.header).replace(",", " ").split()
    texts = [one.removeprefix(rules.prefix) for one in told if one.startswith(rules.prefix)]
    if not texts:
        raise NotVerified(f"{rules.header.lower()} holds no signature that begins as was agreed")
    values: dict[str, str] = {}
    event_id, sent_at_us = None, None
    if rules.id_header is not None:
        event_id = values["id"] = _event_id(rules.id_header.lower(), given.one(rules.id_header))
    if rules.timestamp_header is not None:
        values["timestamp"] = given.one(rules.timestamp_header)
        sent_at_us = _time(rules.timestamp_header.lower(), values["timestamp"], rules.timestamp_unit)
    before, _, behind = rules.signed.partition("{body}")
    signed = _filled(before, values) + body + _filled(behind, values)
    _check(verifier, rules.hash, signed, [_decoded(text, rules.spelling) for text in texts])
    if sent_at_us is not None:
        _check_time(verifier, sent_at_us, received_at_us)
    return Verified(event_id, sent_at_us)


def _filled(template: str, values: Mapping[str, str]) -> bytes:
    return _PLACE.sub(lambda place: values[place[1]], template).encode()


def _check(verifier: Verifier, name: HashName, signed: bytes, signatures: list[bytes]) -> None:
    """Raise unless one of the signatures was made with one of the keys. Takes the same time whichever it is."""
    if len(signatures) > _MOST_SIGNATURES:
        raise NotVerified(f"it has more than {_MOST_SIGNATURES} signatures")
    genuine = False
    for key in verifier.keys:
        made = hmac.digest(key, signed, str(name))
        for signature in signatures:
            genuine |= hmac.compare_digest(made, signature)
    if not genuine:
        raise NotVerified("no signature fits: another secret, or headers or body were changed on the way")


def _check_time(verifier: Verifier, sent_at_us: int, received_at_us: int) -> None:
    off_s = (received_at_us - sent_at_us) / 1_000_000
    if abs(off_s) > verifier.tolerance_s:
        said = f"sent {off_s:.0f} s ago" if off_s > 0 else f"sent {-off_s:.0f} s from now"
        raise NotVerified(
            f"it was {said} by its own time; at most {verifier.tolerance_s:g} s are allowed. Send it again with the time of "
            "sending, or set the clock that is wrong"
        )


def _decoded(text: str, spelling: Spelling) -> bytes:
    """Return a signature's bytes; of one that is none, something that fits nothing."""
    try:
        if spelling is Spelling.HEX:
            return bytes.fromhex(text) if text.isalnum() else b""
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _time(name: str, text: str, unit: TimeUnit) -> int:
    if not _DIGITS.fullmatch(text):
        raise NotVerified(f"{name} is not a whole number of {unit} since 1970")
    return int(text) * _UNIT_US[unit]


def _event_id(where: str, text: str) -> str:
    if not is_event_id(text):
        raise NotVerified(f"{where} is not 1 to {MOST_EVENT_ID} printable ASCII characters without blanks")
    return text


def is_event_id(text: str) -> bool:
    """Tell whether a text can be kept as an event's id."""
    return 0 < len(text) <= MOST_EVENT_ID and text.isascii() and text.isprintable() and " " not in text


def event_id_of(signed: str | None, told: str | None, body: bytes) -> str:
    """Return what a callback is known by: ``signed``, the id in its headers, else the one in its body, else the body's hash.

    Raises :class:`CallbackUnreadable` if the body's is no id.
    """
    if signed is not None:
        return signed
    if told is None:
        return f"sha256:{digest(body).hex()}"
    if not is_event_id(told):
        said = f"its event id is not 1 to {MOST_EVENT_ID} printable ASCII characters without blanks"
        raise CallbackUnreadable(said)
    return told


def digest(body: bytes) -> bytes:
    """Return what a body is compared by."""
    return hashlib.sha256(body).digest()


class _Given:
    """Headers by name, in any case. One that came twice is ambiguous, and counts as none."""

    def __init__(self, headers: Headers) -> None:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name.lower(), []).append(value)

    def one(self, name: str) -> str:
        values = self._values.get(name.lower(), [])
        if len(values) != 1:
            said = "is missing" if not values else f"came {len(values)} times"
            raise NotVerified(f"header {name.lower()} {said}")
        return values[0].strip(" \t")
