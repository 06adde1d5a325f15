"""Telling an HTTP endpoint: one signed POST per message, as Standard Webhooks has it.

The body is the message's own; ``webhook-id`` is its id, the same however often it is told; ``webhook-timestamp`` is when this
very request was made; ``webhook-signature`` holds a signature (``v1``, HMAC-SHA256) by each key, so that a key can be replaced
while both are in use. What the answer means:

* 2xx: it has the message. 410: it wants nothing more. Redirects are never followed.
* 429, 408, 425, 5xx, no answer, no connection: it may not have it, and is told again; ``Retry-After`` is heeded.
* 401, 403, 404, 405, 407 and redirects say more about the endpoint than about the message, and 5xx or a time-out may be about
  either: they count against the message only where others are taken meanwhile.
* Any other 4xx: it will not take this very message.
"""

import asyncio
import contextlib
import re
import ssl
import time
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

from onefill.core.errors import InvalidField
from onefill.core.inbox import STANDARD_ID, STANDARD_SIGNATURE, STANDARD_TIMESTAMP, standard_signature
from onefill.core.relay import TOLD, Gone, Invalid, Message, Outcome, Unavailable
from onefill.sockets import owned_socket

_MOST_READ = 300
"""Bytes of an answer that are looked at: the beginning of what it says is wrong."""
_REST_S = 1.0
"""How long the body of an answer may take that says it has the message."""
_UNPRINTABLE = re.compile(r"[^\x21-\x7e]+")
_LATER = frozenset({408, 425, 429})
_ABOUT_THE_ENDPOINT = frozenset({401, 403, 404, 405, 407})


class WebhookPublisher:
    """Tells one endpoint. See the module's text.

    ``keys``: the bytes of the secrets; with each of them every request is signed. ``timeout_s``: how long one request may take;
    keep it below the time that the relay gives a call. ``connections``: requests at once. ``now_s``: the time since 1970.
    ``tls``: which certificates to trust; by default those of the system.
    """

    def __init__(
        self,
        url: str,
        keys: Sequence[bytes],
        *,
        timeout_s: float = 10.0,
        connections: int = 8,
        tls: ssl.SSLContext | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """Raise InvalidField if the URL is none, or there is no key."""
        self._url = checked_url(url)
        if not keys:
            raise InvalidField("keys", "is empty: a webhook is signed")
        self._keys = tuple(keys)
        self._timeout_s = timeout_s
        self._connections = connections
        self._turns = asyncio.Semaphore(connections)
        self._tls = tls
        self._now_s = now_s
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def start(self) -> None:
        """See :class:`~onefill.ports.publisher.Publisher`. Connects to nobody yet."""

    async def publish(self, messages: Sequence[Message]) -> list[Outcome]:
        """See :class:`~onefill.ports.publisher.Publisher`."""
        if self._closed:
            return [Unavailable(reason="the publisher is closed")] * len(messages)
        if self._session is None:
            self._session = _session(self._connections, self._tls)
        return await asyncio.gather(*(self._tell(self._session, message) for message in messages))

    async def close(self) -> None:
        """See :class:`~onefill.ports.publisher.Publisher`."""
        self._closed = True
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _tell(self, session: aiohttp.ClientSession, message: Message) -> Outcome:
        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                return await self._post(session, message)
        except TimeoutError:
            return Unavailable(reason=f"no answer within {self._timeout_s:g} s", suspect=True)
        except aiohttp.ClientConnectionError as error:
            # Its text may hold the URL, and with it what is secret of it.
            return Unavailable(reason=f"no connection ({type(error).__name__})")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Unavailable(reason=f"no usable answer ({type(error).__name__})", suspect=True)
        except (RuntimeError, asyncio.CancelledError):
            task = asyncio.current_task()
            if not self._closed or (task is not None and task.cancelling()):
                raise
            return Unavailable(reason="the publisher is closed")  # the library cancels what waits when it is closed

    async def _post(self, session: aiohttp.ClientSession, message: Message) -> Outcome:
        async with session.post(
            self._url, data=message.body, headers=self._headers(message), allow_redirects=False
        ) as answer:
            if 200 <= answer.status < 300:
                with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                    # It has it, whatever follows; read so that the connection can be used again.
                    async with asyncio.timeout(min(_REST_S, self._timeout_s / 2)):
                        await answer.content.read(_MOST_READ)
                return TOLD
            return self._outcome(answer.status, answer.headers.get("Retry-After"), await _beginning(answer))

    def _headers(self, message: Message) -> dict[str, str]:
        timestamp_s = int(self._now_s())
        signatures = [standard_signature(key, message.id, timestamp_s, message.body) for key in self._keys]
        return {
            "content-type": "application/json",
            "user-agent": "onefill",
            STANDARD_ID: message.id,
            STANDARD_TIMESTAMP: str(timestamp_s),
            STANDARD_SIGNATURE: " ".join(signatures),
        }

    def _outcome(self, status: int, retry_after: str | None, text: str) -> Outcome:
        reason = f"answered {status}: {text}" if text else f"answered {status}"
        if status == 410:
            return Gone(reason)
        if status in _LATER:
            return Unavailable(reason=reason, retry_after_s=self._seconds(retry_after))
        if status in _ABOUT_THE_ENDPOINT or status < 400:
            return Unavailable(reason=reason, suspect=True)
        if status < 500:
            return Invalid(reason)
        asked_s = self._seconds(retry_after)
        return Unavailable(reason=reason, retry_after_s=asked_s, suspect=asked_s is None)

    def _seconds(self, retry_after: str | None) -> float | None:
        """Return what ``Retry-After`` asks for, in s, whether it says seconds or a date; ``None`` if it says neither."""
        if retry_after is None:
            return None
        text = retry_after.strip()
        if text.isascii() and text.isdigit():
            return float(text[:9])
        try:
            return max(parsedate_to_datetime(text).timestamp() - self._now_s(), 0.0)
        except (ValueError, OverflowError):
            return None


def checked_url(url: str) -> URL:
    """Return the URL of an endpoint. Raises InvalidField, which does not show it: it may hold what is secret."""
    try:
        parsed = URL(url)
        usable = parsed.scheme in ("http", "https") and bool(parsed.host) and parsed.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidField("url", "is not of the form https://host/path")
    if parsed.fragment:
        raise InvalidField("url", "has a fragment (#...), which is never sent")
    return parsed


async def _beginning(answer: aiohttp.ClientResponse) -> str:
    """Return how an answer that takes nothing begins, as printable ASCII."""
    found = await answer.content.read(_MOST_READ)
    return _UNPRINTABLE.sub(" ", found.decode("utf-8", "replace")).strip()


def _session(connections: int, tls: ssl.SSLContext | None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=connections, ssl=True if tls is None else tls, socket_factory=owned_socket
        ),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )
