"""Real processes for drills: Onefill's own commands, started, watched, killed with -9, and never left behind."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from onefill.core.errors import OnefillError

START_S = 30.0
"""How long a server may take to listen, in seconds. A first start compiles every module."""
STOP_S = 15.0
"""How long a server may take to end once it was told to, in seconds."""
_SHOWN = 600


class DrillFailed(OnefillError):
    """The drill itself could not be carried out; it says nothing about any promise."""


class Listening(msgspec.Struct, frozen=True):
    """The first line of a server's standard output."""

    listening: str


class Command:
    """One ``onefill`` command in a process of its own. Its output goes to ``NAME.out`` and ``NAME.err`` in ``folder``."""

    def __init__(self, process: asyncio.subprocess.Process, name: str, folder: Path) -> None:
        self._process = process
        self.name = name
        self._out, self._err = _files(folder, name)

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Return the exit code once the process has ended; a signal's number, negated, if one ended it."""
        return await self._process.wait()

    async def kill(self) -> bool:
        """Kill with -9. True if that is what ended the process, False if it had ended before."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        return await self._process.wait() == -signal.SIGKILL

    def output(self) -> str:
        """Return what the command wrote to standard output so far."""
        return self._out.read_text()

    def errors(self) -> str:
        """Return the end of what the command wrote to standard error."""
        return _end_of(self._err)

    def result(self) -> Any:
        """Return the JSON document that the command printed. Raises DrillFailed if there is none."""
        try:
            return msgspec.json.decode(self.output())
        except msgspec.DecodeError:
            shown = self.errors() or self.output()[-_SHOWN:]
            raise DrillFailed(f"{self.name}: ended with {self._process.returncode} and no result: {shown}") from None


def _end_of(file: Path) -> str:
    return file.read_text()[-_SHOWN:].strip()


def _files(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.out", folder / f"{name}.err"


@contextlib.asynccontextmanager
async def command(
    name: str, folder: Path, arguments: Sequence[str | Path], environment: Mapping[str, str] | None = None
) -> AsyncIterator[Command]:
    """Run ``onefill ARGUMENTS``; whatever happens, the process has ended when this is left.

    ``environment`` is added to that of this process.
    """
    out, err = _files(folder, name)
    with out.open("wb") as out_file, err.open("wb") as err_file:
        process = await _spawn(arguments, out_file, err_file, environment)
    try:
        yield Command(process, name, folder)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _spawn(
    arguments: Sequence[str | Path],
    out: int | IO[bytes],
    err: IO[bytes],
    environment: Mapping[str, str] | None = None,
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "onefill",
        *map(str, arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        env=None if environment is None else {**os.environ, **environment},
    )


class Server:
    """A serving ``onefill`` command; ``url`` is where it listens."""

    def __init__(self, process: asyncio.subprocess.Process, name: str, url: str) -> None:
        self._process = process
        self.name = name
        self.url = url

    async def stop(self) -> str:
        """Ask the server to end, wait for it, and return what it still wrote. Raises DrillFailed if it does not end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                rest, _ = await self._process.communicate()
        except TimeoutError:
            raise DrillFailed(f"{self.name}: did not end within {STOP_S:g} s of being told to") from None
        return rest.decode()


@contextlib.asynccontextmanager
async def server(name: str, folder: Path, arguments: Sequence[str | Path]) -> AsyncIterator[Server]:
    """Run ``onefill ARGUMENTS --json``, which serves on a port of its own choice, until this is left."""
    err = folder / f"{name}.err"
    with err.open("wb") as err_file:
        process = await _spawn([*arguments, "--port", "0", "--json"], asyncio.subprocess.PIPE, err_file)
    try:
        yield Server(process, name, await _listening(process, name, err))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _listening(process: asyncio.subprocess.Process, name: str, err: Path) -> str:
    if process.stdout is None:
        raise DrillFailed(f"{name}: was started without a pipe")
    line = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_S):
            line = await process.stdout.readline()
    try:
        return msgspec.json.decode(line, type=Listening).listening
    except msgspec.DecodeError:
        raise DrillFailed(f"{name}: did not begin to listen: {_end_of(err) or line!r}") from None
