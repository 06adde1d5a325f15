"""The servers that tests start never outlive who started them."""

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from onefill.testing.kafka import KafkaCluster
from onefill.testing.nats import NatsServer
from onefill.testing.server_process import ServerProcess, ServerTrouble

_BOTH = """
import asyncio, sys
from pathlib import Path
from onefill.testing.kafka import KafkaCluster
from onefill.testing.nats import NatsServer

async def main():
    async with NatsServer(Path(sys.argv[1])) as server, KafkaCluster() as cluster:
        if sys.argv[2] == "paused":
            await server.process.pause()
            await cluster.process.pause()
        print(server.url.removeprefix("nats://"), cluster.bootstrap, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def _gone(address: str) -> None:
    """Wait until nobody listens there."""
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError):
        async with asyncio.timeout(30):
            while True:
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                await asyncio.sleep(0.02)
    with pytest.raises(OSError, match=r"refused|failed"):
        await asyncio.open_connection(host, int(port))


@pytest.mark.parametrize("how", ["running", "paused"])
def test_they_end_with_who_started_them(how: str, tmp_path: Path) -> None:
    """Who started them is killed with -9: they are gone too, also where they were stopped meanwhile."""
    with subprocess.Popen(
        [sys.executable, "-c", _BOTH, str(tmp_path), how], env=dict(os.environ), stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        addresses = parent.stdout.readline().split()
        parent.kill()
    assert len(addresses) == 2

    async def main() -> None:
        for address in addresses:
            await _gone(address)

    asyncio.run(main())


def test_they_end_with_their_block(tmp_path: Path) -> None:
    """Left by an error, the block has ended them; killed before, it finds nothing to do."""

    async def main() -> None:
        addresses = []

        async def fail() -> None:
            async with NatsServer(tmp_path) as server, KafkaCluster() as cluster:
                addresses.extend([server.url.removeprefix("nats://"), cluster.bootstrap])
                await server.process.kill()
                raise ValueError("of the test's own")

        with pytest.raises(ValueError, match="of the test's own"):
            await fail()
        assert len(addresses) == 2
        for address in addresses:
            await _gone(address)

    asyncio.run(main())


def test_what_was_not_said_is_told() -> None:
    """A program that ends without saying what is waited for is an error with its last words, at once."""

    async def main() -> None:
        process = await ServerProcess.start("shell", ["/bin/sh", "-c", "echo one; echo two"])
        with pytest.raises(ServerTrouble, match=r"(?s)did not say 'three'.*one\ntwo"):
            await process.until("three")
        assert (await process.until("t.o"))[0] == "two"
        await process.kill()
        assert not process.running

    asyncio.run(main())
