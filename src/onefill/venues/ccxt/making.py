"""Which thread makes a synchronous client's request: by default the client's own, else one that waits for just this request.

A thread that waits anyhow need not hand the request to another one and wait for that: each hand-over takes as long as a good
part of the request.
"""

import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

Maker = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Has a request made, and returns what it returns. Raises what it raises, and :class:`NotTaken`."""


class NotTaken(Exception):
    """The request was not begun there; it is to be made elsewhere."""


_present: contextvars.ContextVar[Maker | None] = contextvars.ContextVar("onefill_ccxt_maker", default=None)


@contextlib.contextmanager
def made_by(maker: Maker | None) -> Iterator[None]:
    """Have the requests that this task makes in the block of a synchronous client made by ``maker``, where it takes them."""
    token = _present.set(maker)
    try:
        yield
    finally:
        _present.reset(token)


def present() -> Maker | None:
    """Return who makes requests for this task, ``None`` if nobody does."""
    return _present.get()
