"""Whether a synchronous client's next request is made right on the event loop's thread, which then does nothing else.

Otherwise it is made in a thread of its own: handing it over and back takes as long as a good part of a request does. Only
whoever owns the loop, and knows that nobody else needs it meanwhile, may have it so.
"""

import contextlib
import contextvars
from collections.abc import Iterator

_allowed: contextvars.ContextVar[bool] = contextvars.ContextVar("onefill_ccxt_in_place", default=False)


@contextlib.contextmanager
def in_place(*, allowed: bool) -> Iterator[None]:
    """Have the first request that this task makes in the block of a synchronous client made on the loop's thread, or not."""
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)


def take() -> bool:
    """Tell whether this task's next request is to be made on the loop's thread; the one after it is not."""
    if not _allowed.get():
        return False
    _allowed.set(False)
    return True
