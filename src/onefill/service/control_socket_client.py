"""The other end of the control socket: how a command asks the gateway that has a ledger, if one runs."""

import asyncio
import os
from typing import Any, TypeVar

import msgspec

from onefill.core.errors import ContradictsEvidence, OnefillError, RouteClosed
from onefill.service.control_socket import address, is_owner
from onefill.service.control_socket_commands import CATEGORIES, Reply

T = TypeVar("T")
_MOST_BYTES = 1 << 28
_CONNECT_S = 5.0


class _Answer(Reply, frozen=True, kw_only=True):
    """A reply whose result is left as it came, so that it can be read as what it is."""

    result: msgspec.Raw = msgspec.Raw(b"null")


_decode = msgspec.json.Decoder(_Answer).decode


class NotRunning(OnefillError):
    """No gateway listens beside this ledger."""


class Link:
    """A connection to a running gateway. Use it as an async context manager; raises :class:`NotRunning`."""

    def __init__(self, ledger: str | os.PathLike[str]) -> None:
        self._path = address(ledger)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> "Link":
        """Connect."""
        try:
            opening = asyncio.open_unix_connection(str(self._path), limit=_MOST_BYTES)
            self._streams = await asyncio.wait_for(opening, _CONNECT_S)
            if not is_owner(self._streams[1]):
                self._streams[1].close()
                self._streams = None
                raise OSError("another user's process listens there")
        except (OSError, TimeoutError, AttributeError, NotImplementedError) as error:
            raise NotRunning(f"{self._path}: no gateway listens there") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def ask(self, command: str, kind: type[T], **arguments: Any) -> T:
        """Return what the gateway answers, as ``kind``. Raises the error that it tells of, or RouteClosed if it went away."""
        if self._streams is None:
            raise NotRunning("not connected")
        reader, writer = self._streams
        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            writer.write(msgspec.json.encode({"command": command, "arguments": given}) + b"\n")
            await writer.drain()
            line = await reader.readuntil(b"\n")
        except (OSError, asyncio.IncompleteReadError) as error:
            raise RouteClosed(
                "the gateway went away before it answered. What it recorded of this stands: look with `onefill status`, "
                "then say it again"
            ) from error
        answer = _decode(line)
        if not answer.ok:
            raise told(answer)
        return msgspec.json.decode(answer.result, type=kind)


async def ask(ledger: str | os.PathLike[str], command: str, kind: type[T], **arguments: Any) -> T:
    """Ask the gateway of a ledger one thing. Raises :class:`NotRunning` where none listens, and what :meth:`Link.ask` does."""
    async with Link(ledger) as link:
        return await link.ask(command, kind, **arguments)


def told(reply: Reply) -> OnefillError:
    """Return the error that a reply tells of: by the name it had there, and handled here like those of its category."""
    base = CATEGORIES.get(reply.category, OnefillError)
    known = type(reply.kind or base.__name__, (base,), {"__init__": Exception.__init__})
    error: OnefillError = known(reply.error)
    if isinstance(error, ContradictsEvidence):
        error.evidence = reply.evidence or ""
    return error
