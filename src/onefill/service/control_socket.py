"""The socket beside a ledger by which commands reach the gateway that has it: one JSON line asks, one answers.

Only the user who runs the gateway may connect. What comes in may be anything: the gateway goes on, and the sender is told.
"""

import asyncio
import contextlib
import hashlib
import os
import socket
import stat
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from onefill.core.errors import OnefillError
from onefill.engine.gateway import Gateway
from onefill.service.control_socket_commands import COMMANDS, Reply, Request, failed
from onefill.service.ledgers import LedgerName, control_name

MOST_BYTES = 1 << 20
"""Of one line, either way in."""
MOST_CONNECTIONS = 64
_LONGEST_PATH = 100
"""Bytes of a socket's path that every system takes."""
_IDLE_S = 300.0
_CREDENTIALS = struct.Struct("3i")
"""Process, user and group, as Linux tells them."""
_decode = msgspec.json.Decoder(Request).decode
_encode = msgspec.json.encode


def address(ledger: LedgerName) -> Path:
    """Return where the gateway of a ledger listens: beside it, or where that cannot be, under ``/tmp``."""
    name = control_name(ledger)
    if name is None:
        beside = f"{os.path.realpath(ledger)}.control"
        if len(os.fsencode(beside)) <= _LONGEST_PATH:
            return Path(beside)
        name = hashlib.sha256(os.fsencode(beside)).hexdigest()[:32]
    return Path(f"/tmp/onefill-{_user()}") / f"{name}.control"  # noqa: S108 - the folder's owner and mode are checked


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


@contextlib.asynccontextmanager
async def serving(gateway: Gateway, ledger: LedgerName) -> AsyncIterator[str | None]:
    """Listen for commands while the block lasts. Gives why nothing could listen, ``None`` if it does: orders go on anyway."""
    path = address(ledger)
    try:
        listening = bind(path)
    except OSError as error:
        yield f"{path}: no commands can be given while this runs: {error.strerror or error}"
        return
    door = _Door(gateway)
    try:
        server = await asyncio.start_unix_server(door.meet, sock=listening, limit=MOST_BYTES)
        try:
            yield None
        finally:
            server.close()
            await door.close()
    finally:
        listening.close()
        with contextlib.suppress(OSError):
            path.unlink()


def bind(path: Path) -> socket.socket:
    """Return a socket that is bound there, for its owner alone. What a process that is gone left there is replaced.

    Raises OSError, also where something else is there, or somebody listens.
    """
    if not hasattr(socket, "AF_UNIX") or sys.platform == "win32":
        raise OSError("this system has no such sockets")
    if path.parent.name == f"onefill-{_user()}":
        _own_folder(path.parent)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError("something else has that name")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()  # nobody listens there any more
            else:
                raise OSError("another process listens there")
    made = socket.socket(socket.AF_UNIX)
    try:
        made.bind(str(path))
        path.chmod(0o600)  # before it listens: until then nobody gets in
        made.settimeout(0)
    except BaseException:
        made.close()
        raise
    return made


def _own_folder(folder: Path) -> None:
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != _user() or stat.S_IMODE(found.st_mode) & 0o077:
        raise OSError(f"{folder} is not a folder of this user alone")


class _Door:
    """Takes connections in, and every line of them to the gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._tasks: set[asyncio.Task[None]] = set()

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= MOST_CONNECTIONS or not is_owner(writer):
            writer.close()
            return
        self._tasks.add(task)
        try:
            while await self._answer_one(reader, writer):
                pass
        except (OSError, asyncio.CancelledError, TimeoutError):
            pass  # the other end is gone, silent for long, or the gateway is being closed
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            line = await asyncio.wait_for(reader.readuntil(b"\n"), _IDLE_S)
        except asyncio.IncompleteReadError:
            return False
        except asyncio.LimitOverrunError:
            problem = OnefillError(f"a line is longer than {MOST_BYTES} bytes. Nothing was done")
            writer.write(_encode(failed(problem, category="caller")) + b"\n")
            await writer.drain()
            return False
        writer.write(await self._reply(line) + b"\n")
        await writer.drain()
        return True

    async def _reply(self, line: bytes) -> bytes:
        try:
            request = _decode(line)
            command = COMMANDS.get(request.command)
            if command is None:
                raise msgspec.ValidationError(f"{request.command!r} is none of: {', '.join(COMMANDS)}")
            result = await command(self._gateway, request.arguments)
            return _encode(Reply(ok=True, result=result))
        except OnefillError as error:
            return _encode(failed(error))
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            problem = OnefillError(f"the request cannot be used: {error}. Nothing was done")
            return _encode(failed(problem, category="caller"))
        except Exception as error:  # noqa: BLE001 - a defect is told to whoever asked; orders go on
            return _encode(
                failed(OnefillError(f"defect in Onefill ({type(error).__name__}: {error})"), category="broken")
            )

    async def close(self) -> None:
        """End every connection. What was recorded of their wishes stands."""
        tasks: list[Any] = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def is_owner(writer: asyncio.StreamWriter) -> bool:
    """Tell whether the other end is this user's. Where the system does not say, the socket's mode has to do."""
    peer = writer.get_extra_info("socket")
    if peer is None or not hasattr(socket, "SO_PEERCRED"):
        return True
    with socket.socket(fileno=os.dup(peer.fileno())) as same:
        told = same.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(told)[1] == _user())
