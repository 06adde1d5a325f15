"""What happens to one request on its way through ccxt and its HTTP client, seen from beneath both.

The library's errors say little about whether anything left. A witness is told by the HTTP session itself: when the first byte
is about to be written, and what the whole answer was. It also keeps a request back at that last moment, if nothing may leave.
"""

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec

from onefill.core.client_errors import Failure, ancestry, codes_in
from onefill.sockets import owned_socket
from onefill.venues.ccxt.manners import Signing
from onefill.venues.last_look import KeptBack, LookedAt

_MOST_TEXT = 2_000
_MOST_CAUSES = 20


class Witness:
    """Sees one request, or the few that one call of ccxt makes.

    ``last_look`` returns why nothing may leave now, ``None`` if it may. ``stamp`` puts the expiry ``expires_at_ms`` into what
    is signed.
    """

    def __init__(
        self,
        last_look: Callable[[], str | None],
        expires_at_ms: int | None = None,
        stamp: Callable[[Signing], None] | None = None,
    ) -> None:
        self.last_look = last_look
        self.expires_at_ms = expires_at_ms
        self.stamp = stamp
        self.kept_back: str | None = None
        """Why the request did not leave; set only where no other request of the call may have left before it."""
        self.status: int | None = None
        self.text = ""
        self.retry_after_s: float | None = None
        self._before: bool | None = False
        """Whether an earlier request of the call left; ``None``: it may have."""
        self._this: bool | None = False
        self._abandoned = False
        self._lock = threading.Lock()  # a synchronous client sends in another thread than the one that judges

    @property
    def sent(self) -> bool | None:
        """Whether the first byte of a request left; ``None``: it may have."""
        both = (self._before, self._this)
        return True if True in both else None if None in both else False

    def begins(self) -> None:
        """Note that a request is handed to the client's transport, which may be any. From here on it may have left."""
        with self._lock:
            self._before, self._this = self.sent, None
            self.status, self.text = None, ""

    def is_seen(self) -> None:
        """Note that the request has come to a session that shows when its first byte leaves: until then it has not."""
        self._this = False

    def leaves(self, *, seen: bool = True) -> None:
        """Note that the first byte is about to be written. Raises KeptBack if it must not.

        ``seen``: whether the write itself is seen, too, or only that it may begin now.
        """
        reason = self.last_look()
        with self._lock:
            if reason is None and self._abandoned:
                reason = "nobody waits for it any more"
            if reason is not None:
                self.keep_back(reason)
                raise KeptBack(reason)
            self._this = True if seen else None

    def again(self) -> str | None:
        """Look once more, right before a body is written whose headers wait for it."""
        reason = self.last_look()
        if reason is not None:
            self.keep_back(reason)
        return reason

    def keep_back(self, reason: str) -> None:
        """Note that the request is not written after all."""
        self._this = False
        if self._before is False:
            self.kept_back = reason

    def abandon(self) -> None:
        """Have nothing leave from here on. What is judged after this stays true."""
        with self._lock:
            self._abandoned = True

    def answered(self, status: int, text: str, headers: Any = None) -> None:
        """Note a whole answer."""
        self.status, self.text = status, text[:_MOST_TEXT]
        said = str(headers.get("Retry-After", "")) if headers is not None else ""
        self.retry_after_s = float(said) if said.isascii() and said.isdecimal() and len(said) < 6 else None

    def failure(self, error: BaseException) -> Failure:
        """Return an error as it is judged."""
        causes = list(_beneath(error))
        return Failure(
            sent=self.sent,
            causes=frozenset(ancestry(type(one) for one in causes)),
            codes=codes_in(_decoded(self.text)),
            text=self.text,
            status=self.status,
            classes=ancestry([type(error)]),
        )


_present: contextvars.ContextVar[Witness | None] = contextvars.ContextVar("onefill_ccxt_witness", default=None)


@contextlib.contextmanager
def watched_by(witness: Witness) -> Iterator[Witness]:
    """Have ``witness`` see the requests that this task makes in the block."""
    token = _present.set(witness)
    try:
        yield witness
    finally:
        _present.reset(token)


def present() -> Witness | None:
    """Return who watches the request that is being made now."""
    return _present.get()


def _beneath(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions beneath an error, by whichever way they are kept there."""
    seen: set[int] = {id(error)}
    below: list[BaseException] = [error]
    while below and len(seen) < _MOST_CAUSES:
        one = below.pop()
        if one is not error:
            yield one
        parts = (
            one.__cause__,
            one.__context__,
            getattr(one, "reason", None),
            getattr(one, "os_error", None),
            *one.args,
        )
        for part in parts:
            if isinstance(part, BaseException) and id(part) not in seen:
                seen.add(id(part))
                below.append(part)


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None


# ---------------------------------------------------------------------- sessions


def trace() -> aiohttp.TraceConfig:
    """Return what tells a witness that the headers of a request are about to be written."""
    config = aiohttp.TraceConfig()

    async def leaving(
        _: aiohttp.ClientSession, __: SimpleNamespace, ___: aiohttp.TraceRequestHeadersSentParams
    ) -> None:
        witness = present()
        if witness is not None:
            witness.leaves()

    config.on_request_headers_sent.append(leaving)
    return config


class WatchedSession:
    """An aiohttp session for ccxt: nothing is sent twice or elsewhere unasked, and a request's last moment is seen.

    ``traced``: the session was made with :func:`trace`. Otherwise what becomes of a request is not seen, and it may have left.
    """

    def __init__(self, session: aiohttp.ClientSession, *, traced: bool) -> None:
        self.inner = session
        self._traced = traced
        # aiohttp resends GET, PUT and DELETE after a dropped connection, unasked; there is no public switch for it.
        setattr(session, "_retry_connection", False)  # noqa: B010 - the attribute is private, its name is all there is
        connector = session.connector
        if isinstance(connector, aiohttp.TCPConnector) and getattr(connector, "_socket_factory", None) is None:
            setattr(connector, "_socket_factory", owned_socket)  # noqa: B010 - likewise: ccxt makes the connector

    def _request(self, method: str, url: Any, **given: Any) -> Any:
        witness, body = present(), given.get("data")
        if witness is not None and not self._traced:
            witness.leaves(seen=False)
        elif witness is not None:
            witness.is_seen()
        if witness is not None and isinstance(body, bytes):
            # Between headers and body lie turns of the event loop: the headers wait for the body, and it looks once more.
            given["data"] = LookedAt(body, witness.again, "application/octet-stream")
        given["allow_redirects"] = False  # a redirect would send the order a second time
        return self.inner.request(method, url, **given)

    def get(self, url: Any, **given: Any) -> Any:
        """As aiohttp's."""
        return self._request("GET", url, **given)

    def post(self, url: Any, **given: Any) -> Any:
        """As aiohttp's."""
        return self._request("POST", url, **given)

    def put(self, url: Any, **given: Any) -> Any:
        """As aiohttp's."""
        return self._request("PUT", url, **given)

    def delete(self, url: Any, **given: Any) -> Any:
        """As aiohttp's."""
        return self._request("DELETE", url, **given)

    def patch(self, url: Any, **given: Any) -> Any:
        """As aiohttp's."""
        return self._request("PATCH", url, **given)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the session's own."""
        return getattr(self.inner, name)


class WatchedRequests:
    """A requests session for ccxt: likewise."""

    def __init__(self, session: Any) -> None:
        self.inner = session

    def request(self, *arguments: Any, **given: Any) -> Any:
        """As requests' own, never following a redirect."""
        witness = present()
        if witness is not None:
            witness.leaves(seen=False)  # what its connection pool does from here on is not seen
        given["allow_redirects"] = False
        return self.inner.request(*arguments, **given)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the session's own."""
        return getattr(self.inner, name)
