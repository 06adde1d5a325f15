"""A server in a process of its own, for tests and drills: watched, paused, killed with -9, and never left behind."""

import asyncio
import contextlib
import os
import re
import signal
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from onefill.core.errors import OnefillError

ANSWER_S = 30.0
"""How long a server may take to say what is waited for, in seconds. A first start compiles every module."""
_SHOWN = 20
_GUARD = 'cat > /dev/null; kill -KILL "$1" 2> /dev/null'
"""Waits for the end of its input, which comes when the process that started it is gone, however it went."""


class ServerTrouble(OnefillError):
    """The kit could not do what was asked of it; it says nothing about any promise."""


class ServerProcess:
    """One run of a server. What it writes is read line by line."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, guard: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process
        self._guard = guard
        self._lines: deque[str] = deque(maxlen=1000)
        self._said = asyncio.Condition()
        self._over = False
        self._reader = asyncio.ensure_future(self._read())

    @classmethod
    async def start(cls, name: str, arguments: Sequence[str | Path], folder: Path | None = None) -> "ServerProcess":
        """Start it. Raises OSError if there is no such program."""
        process = await asyncio.create_subprocess_exec(
            *map(str, arguments),
            cwd=folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        guard = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", _GUARD, "guard", str(process.pid), stdin=asyncio.subprocess.PIPE, start_new_session=True
        )
        return cls(name, process, guard)

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.returncode is None

    async def until(self, pattern: str, timeout_s: float = ANSWER_S) -> re.Match[str]:
        """Return the match of the first line that ``pattern`` is found in. Raises ServerTrouble if none comes in time."""
        wanted = re.compile(pattern)

        def found() -> re.Match[str] | None:
            return next(filter(None, map(wanted.search, self._lines)), None)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._said:
                await self._said.wait_for(lambda: found() or self._over)
        match = found()
        if match is None:
            raise ServerTrouble(f"{self.name}: did not say {pattern!r} within {timeout_s:g} s:\n{self.output()}")
        return match

    def output(self) -> str:
        """Return the last lines that it wrote."""
        return "\n".join(list(self._lines)[-_SHOWN:]) or "it wrote nothing"

    async def ended(self, timeout_s: float = ANSWER_S) -> int:
        """Return its exit code once it has ended by itself. Raises ServerTrouble if it does not in time."""
        try:
            return await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            raise ServerTrouble(f"{self.name}: did not end within {timeout_s:g} s:\n{self.output()}") from None

    async def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        if self._process.stdin is None:
            raise ServerTrouble(f"{self.name}: was started without a pipe")
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()

    async def pause(self) -> None:
        """Stop it where it stands (SIGSTOP), and wait until it does: connections stay open and nothing answers."""
        self._process.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, self._process.pid, os.WSTOPPED)  # a signal takes its time

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    async def stop(self, timeout_s: float = 10.0) -> None:
        """Ask it to end; kill it if it does not within the time."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), timeout_s)
        await self.kill()

    async def kill(self) -> None:
        """Kill it with -9, wait until it is gone, and let go of it. May be called again."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            self._guard.kill()
        await self._guard.wait()
        for pipe in (self._process.stdin, self._guard.stdin):
            if pipe is not None:
                pipe.close()
        await self._reader

    async def _read(self) -> None:
        if self._process.stdout is not None:
            async for line in self._process.stdout:
                async with self._said:
                    self._lines.append(line.decode(errors="replace").rstrip())
                    self._said.notify_all()
        async with self._said:
            self._over = True
            self._said.notify_all()
