"""Gateway processes as a drill has them: started, asked, killed with -9, paused, and never left behind."""

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from pathlib import Path

import msgspec

from onefill.core.intent import Intent
from onefill.gameday.node_words import Cancel, HandOver, NodeJob, Request, Said, Submit
from onefill.gameday.processes import START_S, DrillFailed, Listening

_encode = msgspec.json.Encoder().encode
_said = msgspec.json.Decoder(Said)
_LINE = 1 << 20
_MORE_S = 0.15
"""How long the drill waits for a node beyond what the node itself was told to wait."""


class NodeGone(Exception):
    """The node did not say what came of a request: it ended, it is paused, or it takes too long."""


class NodeError(Exception):
    """What the node said went wrong; ``kind`` is the name of its exception."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        super().__init__(f"{kind}: {text}")


class Node:
    """One gateway process by its name. It may be started again after it was killed."""

    def __init__(self, job: NodeJob, folder: Path) -> None:
        self.job = job
        self.name = job.name
        self.starts = 0
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Said]] = {}

    # ------------------------------------------------------------------------- process

    @property
    def running(self) -> bool:
        """Whether the process runs, paused or not."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process and connect to it once its gateway is open. Raises DrillFailed if that takes too long."""
        await self.kill()
        self.starts += 1
        file = self._folder / f"{self.name}.json"
        file.touch(mode=0o600)  # the ledger's URL may hold a password
        file.write_bytes(_encode(self.job))
        with (self._folder / f"{self.name}-{self.starts}.err").open("wb") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "onefill.gameday.node_process", str(file)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        line = b""
        if self._process.stdout is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(START_S):
                    line = await self._process.stdout.readline()
        try:
            port = int(msgspec.json.decode(line, type=Listening).listening)
        except (msgspec.DecodeError, ValueError):
            raise DrillFailed(f"{self.name}: did not open: {self.errors() or line!r}") from None
        reader, self._writer = await asyncio.open_connection("127.0.0.1", port, limit=_LINE)
        self._reading = asyncio.create_task(self._read(reader))

    async def kill(self) -> None:
        """Kill the process with -9, paused or not."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Let the process close its gateway in good order."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            try:
                async with asyncio.timeout(START_S):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                raise DrillFailed(f"{self.name}: did not end within {START_S:g} s of being told to") from None
        if self._writer is not None:
            self._writer.close()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        self._process = self._writer = self._reading = None
        self._lost()

    def pause(self) -> None:
        """Stop the process in the middle of whatever it does."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise DrillFailed(f"{self.name}: does not run")
        os.kill(self._process.pid, number)

    def errors(self) -> str:
        """Return the end of what the process wrote to standard error since it was started last."""
        file = self._folder / f"{self.name}-{self.starts}.err"
        return file.read_text(errors="replace")[-1200:].strip() if file.exists() else ""

    # ------------------------------------------------------------------------- requests

    async def submit(self, intent: Intent, key: str, wait_s: float) -> bytes:
        """Place an order; return the answer's bytes. Raises NodeError or NodeGone."""
        return await self._ask(Submit(next(self._numbers), key, intent, wait_s), wait_s)

    async def cancel(self, key: str, account: str, strategy: str, operation_key: str, wait_s: float) -> bytes:
        """Cancel an order; return the answer's bytes. Raises NodeError or NodeGone."""
        return await self._ask(Cancel(next(self._numbers), key, account, strategy, operation_key, wait_s), wait_s)

    async def hand_over(self, route: str, to: str) -> None:
        """Have the node give a route to the node named ``to``. Raises NodeError or NodeGone."""
        await self._ask(HandOver(next(self._numbers), route, to), START_S)

    async def _ask(self, request: Request, wait_s: float) -> bytes:
        if self._writer is None or self._writer.is_closing():
            raise NodeGone(self.name)
        waiting = self._waiting[request.number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(_encode(request) + b"\n")
            async with asyncio.timeout(wait_s + _MORE_S):
                said = await waiting
        except (TimeoutError, OSError):
            raise NodeGone(self.name) from None
        finally:
            self._waiting.pop(request.number, None)
        if said.error is not None:
            raise NodeError(said.error, said.text)
        return bytes(said.answer)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                said = _said.decode(line)
                waiting = self._waiting.get(said.number)
                if waiting is not None and not waiting.done():
                    waiting.set_result(said)
        self._lost()

    def _lost(self) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionResetError(self.name))
