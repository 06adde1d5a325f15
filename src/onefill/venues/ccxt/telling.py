"""What an error of the client library says, and which codes of a venue mean what."""

from typing import Final

from onefill.core.client_errors import Codes
from onefill.core.messages import legible
from onefill.venues.profile import Profile

_SHOWN: Final = 300
_CAREFUL: Final = Codes(duplicate=("duplicate", "already exist", "already used", "already in use", "not unique"))
"""Where no codes are known: words for an id that was seen before. ccxt files many such refusals as plain ones, and an order
that is there must not be taken for refused."""


def words(error: BaseException) -> str:
    """Return what an error says, with its name, without a request's query: keys and signatures stand there."""
    text = " ".join(part.split("?", 1)[0] if "://" in part else part for part in str(error).split())
    return (legible(f"{type(error).__name__}: {text}" if text else type(error).__name__) or "")[:_SHOWN]


def codes(profile: Profile | None) -> Codes:
    """Return a profile's codes as errors are judged by them."""
    if profile is None:
        return _CAREFUL
    wire = profile.wire
    return Codes(
        duplicate=wire.duplicate_codes,
        duplicate_texts=wire.duplicate_texts,
        unknown=wire.unknown_codes,
        too_late=wire.too_late_codes,
        throttled=wire.throttled_codes,
        not_found=wire.not_found_codes,
        cancel_of_dead=wire.cancel_of_dead_codes,
        rejected=wire.rejected_codes,
    )
