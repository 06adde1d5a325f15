"""Steps of a user's own process: what an attempt is told, what is kept of a result, and by which key the effect is repeated.

Pure. What keeps them, and in which order, is in :mod:`onefill.engine.once`.
"""

import hashlib
import math
from typing import Any

import msgspec

from onefill.core.errors import InvalidField, StepFailed, StepResultRefused

MOST_RESULT_BYTES = 65_536
"""Bytes that a result may have as JSON. A larger one belongs elsewhere; keep where it is."""
_MOST_MESSAGE = 2_000
_TAG = b"onefill-step-1\n"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What a step's function is told. ``number`` counts how often the step was begun, from 1.

    ``idempotency_key`` is the same for every attempt, on every node: hand it to whatever the step calls, so that it can tell a
    repeat. ``begun_before``: an earlier attempt was begun and its end is not known; it may have had its effect.
    """

    number: int
    idempotency_key: str

    @property
    def begun_before(self) -> bool:
        """Whether an earlier attempt may have had its effect."""
        return self.number > 1


class KeptError(msgspec.Struct, frozen=True, kw_only=True):
    """An error that was a step's outcome: the name of its type, and its text."""

    kind: str
    message: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of a step that is done, as the ledger keeps it: a result, or an error that was asked to be kept."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    error: KeptError | None = None


_decode = msgspec.json.Decoder(Outcome).decode


def read_outcome(kept: bytes) -> Outcome:
    """Return what the ledger keeps of a step that is done."""
    return _decode(kept)


def idempotency_key(route: str, key: str, step: str) -> str:
    """Return the key under which a step has its effect elsewhere: a hash, written as a UUID (version 8, RFC 9562)."""
    told = msgspec.json.encode((route, key, step))  # a list, so that no two triples run into the same text
    raw = bytearray(hashlib.sha256(_TAG + told).digest()[:16])
    raw[6] = (raw[6] & 0x0F) | 0x80
    raw[8] = (raw[8] & 0x3F) | 0x80
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def arguments_digest(arguments: Any) -> str:
    """Return what stands for a step's arguments: SHA-256 of their JSON, the order of keys aside; nothing for ``None``.

    Raises :class:`InvalidField` for what is no JSON.
    """
    if arguments is None:
        return ""
    try:
        return hashlib.sha256(msgspec.json.encode(arguments, order="deterministic")).hexdigest()
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise InvalidField("arguments", f"cannot be written as JSON ({error})") from None


def kept_result(result: Any, key: str, step: str) -> bytes:
    """Return a step's result as it is kept and given to every repeat. Decimals are kept exactly, as text.

    Raises :class:`StepResultRefused` for what is no JSON, is not finite, or is too large.
    """
    try:
        plain = msgspec.to_builtins(result)
        made = msgspec.json.encode(Outcome(result=msgspec.Raw(msgspec.json.encode(plain))))
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise StepResultRefused(key, step, f"it is no JSON ({error})") from None
    if not _finite(plain):
        raise StepResultRefused(key, step, "it holds a float that is not finite, for which JSON has no word")
    if len(made) > MOST_RESULT_BYTES:
        said = f"it has {len(made):,} bytes as JSON; at most {MOST_RESULT_BYTES:,} are kept"
        raise StepResultRefused(key, step, said)
    return made


def kept_error(error: BaseException) -> bytes:
    """Return an error as it is kept as a step's outcome."""
    message = str(error)[:_MOST_MESSAGE].encode("utf-8", "replace").decode()
    return msgspec.json.encode(Outcome(error=KeptError(kind=type(error).__name__, message=message)))


def told(kept: bytes, key: str, step: str, result_type: Any = Any) -> Any:
    """Return the result of a step that is done, or raise the error that was kept as its outcome (:class:`StepFailed`).

    Raises :class:`InvalidField` if the result is none of ``result_type``.
    """
    outcome = read_outcome(kept)
    if outcome.error is not None:
        raise StepFailed(key, step, outcome.error.kind, outcome.error.message)
    try:
        return msgspec.json.decode(outcome.result, type=result_type)
    except msgspec.ValidationError as error:
        said = f"does not fit the result that step {step!r} of {key!r} has: {error}"
        raise InvalidField("result_type", said) from None


def _finite(plain: Any) -> bool:
    left = [plain]
    while left:
        one = left.pop()
        if isinstance(one, float) and not math.isfinite(one):
            return False
        if isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list | tuple):
            left += one
    return True
