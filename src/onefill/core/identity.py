"""Client order ids: made once per intent, never again, and recognisable as our own.

Two schemes:

* **sequence**: ``<strategy>-<yyyymmdd>-<session>-<sequence>-<checksum>``. The sequence is durable and never reused. The
  session is a tag of ledger and route, from a seed drawn when the ledger was made, and the route's epoch: so that a new
  ledger beside an old one, two routes, or two owners of one route do not make the same id (two tags agree once in a
  million).
* **derived**: a hash of the key and its scope. Two hosts with no common ledger make the same id for the same decision.

A venue's charset and length decide the spelling (:class:`IdFormat`). Where the readable form does not fit, the id is a
hash in the venue's alphabet. Every form ends in a checksum, which tells an id that was not made here.
"""

import functools
import hashlib
import re
from enum import StrEnum

import msgspec

from onefill.core.errors import InvalidField, require

CHECK_LENGTH = 3
"""Checksum characters: 15 bits (12 in hexadecimal), so one foreign id in 32,768 (4,096) passes by chance."""
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
_HEX = "0123456789abcdef"
_READABLE_STRATEGY = 6
_TAG = b"onefill-id-1\n"
_MIN_LENGTH = 16
_MIN_HEX_LENGTH = 19
"""Shorter ids would leave under 64 bits of hash before the checksum."""


class IdScheme(StrEnum):
    """How client order ids are made."""

    SEQUENCE = "sequence"
    DERIVED = "derived"


class Alphabet(StrEnum):
    """The characters a venue takes in a client order id."""

    TEXT = "text"
    """ASCII letters, digits and hyphen."""
    ALPHANUMERIC = "alphanumeric"
    HEX = "hex"
    """Lowercase hexadecimal digits."""


class IdFormat(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """A venue's limits on a client order id. The defaults fit most venues (36 characters with hyphens)."""

    alphabet: Alphabet = Alphabet.TEXT
    max_length: int = 36
    prefix: str = ""

    def __post_init__(self) -> None:
        """Refuse limits that leave no room for a safe id."""
        least = _MIN_HEX_LENGTH if self.alphabet is Alphabet.HEX else _MIN_LENGTH
        if self.max_length - len(self.prefix) < least:
            raise InvalidField("id_format.max_length", f"leaves less than {least} characters after the prefix")


def sequence_id(strategy: str, day: str, session: str, sequence: int, form: IdFormat) -> str:
    """Return the id of the ``sequence``-th intent of a route. ``day`` is ``yyyymmdd`` in UTC."""
    require(session.isalnum() and sequence > 0, "client order id: session is letters and digits, sequence starts at 1")
    body = f"{_short(strategy)}-{day}-{session}-{sequence}"
    if form.alphabet is Alphabet.TEXT:
        made = f"{form.prefix}{body}-{_check(body)}"
        if len(made) <= form.max_length:
            return made
    # The short strategy name is not unique; the whole one goes into the hash.
    return _hashed(f"{strategy}\n{body}", form)


def session_tag(seed: bytes, route: str, epoch: int) -> str:
    """Return the session part of an id: four characters from the ledger's random ``seed`` and the route, then the epoch."""
    require(epoch > 0, "client order id: epochs start at 1")
    return f"{_base32(int.from_bytes(hashlib.sha256(seed + route.encode()).digest(), 'big'), 4)}{epoch}"


@functools.lru_cache(maxsize=256)  # a call asks for the same id twice or thrice
def derived_id(account: str, strategy: str, key: str, form: IdFormat) -> str:
    """Return the id that any host makes for this key: a hash of account, strategy and key in the venue's alphabet."""
    return _hashed(f"{account}\n{strategy}\n{key}", form)


def replacement_id(client_order_id: str, number: int, form: IdFormat) -> str:
    """Return the id under which an order goes on after its ``number``-th replace: a hash, the same whoever makes it."""
    return _hashed(f"{client_order_id}\nreplace {number}", form)


def made_here(client_order_id: str, form: IdFormat) -> bool:
    """Tell whether the checksum holds, i.e. whether an id of this format can have been made by this code."""
    if not client_order_id.startswith(form.prefix):
        return False
    rest = client_order_id[len(form.prefix) :]
    if form.alphabet is Alphabet.TEXT and "-" in rest:
        body, _, check = rest.rpartition("-")
        return check == _check(body)
    if len(rest) != _hash_length(form):
        return False
    body, check = rest[:-CHECK_LENGTH], rest[-CHECK_LENGTH:]
    return check == _spell(_digest(body), CHECK_LENGTH, form)


def session_of(client_order_id: str, form: IdFormat) -> tuple[str, int] | None:
    """Return the session part of an id that was made by :func:`sequence_id`: whose route's it is, and the epoch.

    ``None`` where the id does not say: it was made elsewhere, or is one that only a hash fits into.
    """
    parts = client_order_id[len(form.prefix) :].split("-")
    if form.alphabet is not Alphabet.TEXT or len(parts) != 5 or not made_here(client_order_id, form):
        return None
    return session_parts(parts[2])


def session_parts(session: str) -> tuple[str, int] | None:
    """Return whose route's a session tag is, and the epoch, ``None`` if it is none."""
    tag, epoch = session[:4], session[4:]
    return (tag, int(epoch)) if len(tag) == 4 and epoch.isascii() and epoch.isdigit() else None


def key_digest(account: str, strategy: str, key: str) -> bytes:
    """Return the 16 bytes under which a key is indexed: fixed, short, and equal only for equal (account, strategy, key)."""
    return hashlib.sha256(f"{account}\n{strategy}\n{key}".encode()).digest()[:16]


def derived_key(strategy: str, signal: str, decided_at_us: int, instrument: str) -> str:
    """Return the key of a decision: what was decided, on what signal, when (µs since 1970), on which instrument.

    A primary and a standby that reach the same decision make the same key, and so at most one order.
    """
    text = msgspec.json.encode((strategy, signal, decided_at_us, instrument))
    return "decision-" + hashlib.sha256(text).hexdigest()[:32]


def _hashed(text: str, form: IdFormat) -> str:
    body = _spell(_digest(text), _hash_length(form) - CHECK_LENGTH, form)
    return form.prefix + body + _spell(_digest(body), CHECK_LENGTH, form)


def _hash_length(form: IdFormat) -> int:
    return min(form.max_length - len(form.prefix), 32)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(_TAG + text.encode()).digest(), "big")


def _check(body: str) -> str:
    """Return the first three base-32 digits of the digest."""
    first = hashlib.sha256(_TAG + body.encode()).digest()
    bits = (first[0] << 8 | first[1]) >> 1
    return _BASE32[bits >> 10] + _BASE32[bits >> 5 & 31] + _BASE32[bits & 31]


def _base32(number: int, length: int) -> str:
    return "".join([_BASE32[(number >> (251 - 5 * i)) & 31] for i in range(length)])


def _spell(number: int, length: int, form: IdFormat) -> str:
    if form.alphabet is Alphabet.HEX:
        return "".join([_HEX[(number >> (252 - 4 * i)) & 15] for i in range(length)])
    return _base32(number, length)


def _short(strategy: str) -> str:
    if strategy.isascii() and strategy.isalnum():
        return strategy[:_READABLE_STRATEGY]
    return re.sub(r"[^A-Za-z0-9]", "", strategy)[:_READABLE_STRATEGY] or "x"
