"""Telling a NATS JetStream stream: one acknowledged message per event, deduplicated by the server within its window.

The message's id stands in ``Nats-Msg-Id``, the stream that must take it in ``Nats-Expected-Stream``; the payload is the body as
it is. An acknowledgement, also one of a duplicate, means that the stream has it. Needs ``onefill[nats]``.

JetStream acknowledges before its file is synced, unless the server is configured with ``sync_interval: always`` or the stream
has replicas. It forgets ids after the stream's duplicate window (two minutes, unless set otherwise).
"""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Sequence
from string import Formatter

import msgspec

from onefill.core.errors import InvalidField, SettingsError
from onefill.core.relay import TOLD, Invalid, Message, Outcome, Unavailable

try:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.errors import Error as NatsError
except ImportError:  # told when a publisher is made
    _MISSING = True
else:
    _MISSING = False

SUBJECT = "onefill.{route}.{lane}"
"""The subject where nothing else is set."""
LONGEST_SUBJECT = 1024
"""In bytes. A server closes the connection at a command line above its limit (4096), which holds two subjects."""
_PARTS = frozenset({"route", "lane", "kind", "account", "strategy"})
_PLAIN = re.compile(rb"[A-Za-z0-9_-]")
_TOO_LARGE = frozenset({10054, 10097})
"""JetStream's error codes for a message, or its headers, above the stream's limit."""
_DENIED = re.compile(r'permissions violation for publish to "([^"]+)"', re.IGNORECASE)
_GIVEN_UP_S = 0.25
_HEADER_LINE = len("NATS/1.0\r\n")
_NO_RESPONDERS = "503"


class _Error(msgspec.Struct, frozen=True):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct, frozen=True):
    """What JetStream says of a message."""

    error: _Error | None = None
    duplicate: bool = False


_decode = msgspec.json.Decoder(_Answer).decode
_NOBODY = _Answer(_Error(503, 0, "no stream takes its subject"))


def token(name: str | None) -> str:
    """Return a name as one token of a subject: letters, digits, ``_`` and ``-`` as they are, other bytes as ``%XX``.

    Different names give different tokens. What is not there is ``%``.
    """
    if not name:
        return "%"
    return "".join(chr(byte) if _PLAIN.fullmatch(bytes((byte,))) else f"%{byte:02X}" for byte in name.encode())


def subject_of(template: str, message: Message) -> str:
    """Return the subject of a message."""
    return template.format(
        route=token(message.route),
        lane=token(message.lane_name),
        kind=token(message.kind),
        account=token(message.account),
        strategy=token(message.strategy),
    )


def check_template(template: str) -> None:
    """Raise InvalidField if a subject cannot be made from it."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise InvalidField("subject", f"{template!r}: {error}") from None
    for literal, name, form, conversion in parts:
        if name is not None and (name not in _PARTS or form or conversion):
            raise InvalidField("subject", f"{template!r} may name {', '.join(sorted(_PARTS))}, as in {SUBJECT}")
        if re.search(r"[\s*>\x00-\x1f]", literal):
            raise InvalidField("subject", f"{template!r} has white space or a wildcard")
    if not all(template.split(".")) or template.startswith("$"):
        raise InvalidField("subject", f"{template!r} has an empty part, or begins with $")


class NatsPublisher:
    """Tells one stream. See the module's text.

    ``servers``: URLs such as ``nats://127.0.0.1:4222`` or ``tls://user:password@host``. ``subject``: a template, see
    :func:`subject_of`. ``answer_s``: how long to wait for acknowledgements, in seconds; keep it below the time that the relay
    gives a call.
    """

    def __init__(
        self,
        servers: Sequence[str],
        stream: str,
        *,
        subject: str = SUBJECT,
        tls: ssl.SSLContext | None = None,
        answer_s: float = 10.0,
        start_s: float = 10.0,
        close_s: float = 3.0,
    ) -> None:
        """Raise SettingsError if nats-py is not installed, InvalidField if the subject cannot be used."""
        if _MISSING:
            raise SettingsError("telling NATS needs the package nats-py: install onefill[nats]")
        check_template(subject)
        self._servers = list(servers)
        self._stream = stream
        self._subject = subject
        self._tls = tls
        self._answer_s = answer_s
        self._start_s = start_s
        self._close_s = close_s
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()
        self._closed = False
        self.duplicates = 0
        """How many messages the stream said it had already."""

    async def start(self) -> None:
        """See :class:`~onefill.ports.publisher.Publisher`. Raises NatsError, OSError or TimeoutError if nobody is there."""
        await self._connected()

    async def publish(self, messages: Sequence[Message]) -> list[Outcome]:
        """See :class:`~onefill.ports.publisher.Publisher`."""
        if self._closed:
            return [Unavailable(reason="the publisher is closed")] * len(messages)
        connection = await self._connected()
        outcomes: list[Outcome] = [Unavailable(reason="it could not be handed over in time")] * len(messages)
        waiting: dict[asyncio.Future[_Answer], int] = {}
        try:
            async with asyncio.timeout(self._answer_s):
                for number, message in enumerate(messages):
                    begun = await self._hand_over(connection, message)
                    if isinstance(begun, asyncio.Future):
                        waiting[begun] = number
                    else:
                        outcomes[number] = begun
                if waiting:
                    await asyncio.wait(waiting)
        except TimeoutError:
            if not any(answer.done() for answer in waiting):
                connection.lost("it answered nothing")  # half open, perhaps: the next call makes a new one
        finally:
            for answer in waiting:
                connection.forget(answer)
        for answer, number in waiting.items():
            outcomes[number] = self._outcome(connection, answer)
        return outcomes

    async def _hand_over(self, connection: "_Connection", message: Message) -> "asyncio.Future[_Answer] | Outcome":
        """Send one message. Return what its acknowledgement will be in, or what is known of it at once."""
        subject = subject_of(self._subject, message)
        if len(subject) > LONGEST_SUBJECT:
            return Invalid(f"its subject has {len(subject)} bytes, and may have {LONGEST_SUBJECT}")
        headers = {"Nats-Msg-Id": message.id, "Nats-Expected-Stream": self._stream}
        # The server counts headers in, and closes the connection for everybody if it is too much.
        size = _HEADER_LINE + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items()) + 2
        size += len(message.body)
        most = connection.client.max_payload
        if size > most:
            return Invalid(f"it has {size} bytes with its headers, and the server takes {most}")
        try:
            return await connection.ask(subject, message.body, headers)
        except (NatsError, OSError) as error:
            return Unavailable(reason=str(error))

    def _outcome(self, connection: "_Connection", answer: "asyncio.Future[_Answer]") -> Outcome:
        if answer.cancelled():
            return Unavailable(reason=connection.problem or f"no acknowledgement within {self._answer_s:g} s")
        told = answer.result()
        if told.error is None:
            self.duplicates += told.duplicate
            return TOLD
        reason = f"{told.error.description} ({told.error.code}, {told.error.err_code})"
        if told.error.err_code in _TOO_LARGE:
            return Invalid(reason)
        return Unavailable(reason=reason, suspect=True)

    async def close(self) -> None:
        """See :class:`~onefill.ports.publisher.Publisher`."""
        self._closed = True
        async with self._connecting:
            if self._connection is not None:
                await self._connection.close(self._close_s)
                self._connection = None

    async def _connected(self) -> "_Connection":
        async with self._connecting:
            if self._connection is not None:
                if self._connection.usable:
                    return self._connection
                await self._connection.close(self._close_s)
                self._connection = None
            self._connection = await _Connection.made(self._servers, self._tls, self._start_s)
            return self._connection


class _Connection:
    """One connection. It is never mended: nothing of an old one is sent again behind the relay's back."""

    def __init__(self) -> None:
        self.client = Client()
        self.problem: str | None = None
        """Why nothing more is to be expected of it."""
        self._inbox = ""
        self._asked = 0
        self._waiting: dict[str, tuple[str, asyncio.Future[_Answer]]] = {}
        """What was sent and has no answer, by its place in the inbox: its subject, and who waits."""
        self._places: dict[asyncio.Future[_Answer], str] = {}

    @classmethod
    async def made(cls, servers: list[str], tls: ssl.SSLContext | None, timeout_s: float) -> "_Connection":
        """Connect. Raises NatsError, OSError or TimeoutError if nobody is there."""
        made = cls()
        try:
            async with asyncio.timeout(timeout_s):
                await made.client.connect(
                    servers,
                    name="onefill",
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    tls=tls,
                    error_cb=made._trouble,
                    closed_cb=made._closed,
                )
                made._inbox = made.client.new_inbox()
                await made.client.subscribe(made._inbox + ".*", cb=made._answered)
        except BaseException:
            await made.close(_GIVEN_UP_S)
            raise
        return made

    @property
    def usable(self) -> bool:
        return self.problem is None and self.client.is_connected

    async def ask(self, subject: str, body: bytes, headers: dict[str, str]) -> "asyncio.Future[_Answer]":
        """Send a message; what is returned will hold the answer, or be cancelled if none can come."""
        self._asked += 1
        place = f"{self._inbox}.{self._asked}"
        answer: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._waiting[place] = (subject, answer)
        self._places[answer] = place
        try:
            await self.client.publish(subject, body, reply=place, headers=headers)
        except BaseException:
            self.forget(answer)
            raise
        return answer

    def forget(self, answer: "asyncio.Future[_Answer]") -> None:
        """Nobody waits for it any more."""
        answer.cancel()
        self._waiting.pop(self._places.pop(answer), None)

    def lost(self, reason: str) -> None:
        """Nothing more is to be expected: whoever waits is told at once."""
        self.problem = self.problem or reason
        for _, answer in self._waiting.values():
            answer.cancel()

    async def close(self, timeout_s: float) -> None:
        """Let go of it. What the other side does not acknowledge in time is left to itself."""
        self.lost("the connection was closed")
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.client.close()

    async def _answered(self, message: "Msg") -> None:
        _, answer = self._waiting.get(message.subject, (None, None))
        if answer is None or answer.done():
            return
        if not message.data and (message.headers or {}).get("Status") == _NO_RESPONDERS:
            answer.set_result(_NOBODY)
            return
        try:
            answer.set_result(_decode(message.data))
        except msgspec.DecodeError as error:
            answer.set_result(_Answer(_Error(0, 0, f"an answer that is none of JetStream's: {error}")))

    async def _trouble(self, error: Exception) -> None:
        said = _DENIED.search(str(error))
        if said is None:
            return
        for subject, answer in self._waiting.values():
            if subject == said[1] and not answer.done():
                answer.set_result(_Answer(_Error(0, 0, str(error))))

    async def _closed(self) -> None:
        self.lost(f"the connection was lost: {self.client.last_error or 'no reason was given'}")
