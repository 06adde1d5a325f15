"""Connections that are given up while they are made harm no other file of the process."""

import asyncio
import gc
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop

from onefill.outbox import webhook
from onefill.sockets import OwnedSocket, owned_socket
from onefill.venues import exchange_client
from onefill.venues.ccxt.witness import WatchedSession

RUNNERS = pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


def of_the_exchange_client() -> Any:
    """Return the session of the adapter to the simulated exchange."""
    return exchange_client._session(aiohttp.ClientTimeout(total=5), 10)


def of_ccxt() -> Any:
    """Return a session that ccxt made, as the adapter over ccxt uses it."""
    return WatchedSession(aiohttp.ClientSession(connector=aiohttp.TCPConnector()), traced=False)


def of_webhooks() -> Any:
    """Return the session that subscribers are told over."""
    return webhook._session(10, None)


def reusing(number: int, folder: Path) -> list[int]:
    """Open files until every free number up to this one is one of theirs."""
    opened: list[int] = []
    while not opened or opened[-1] <= number:
        opened.append(os.open(folder / f"ledger-{len(opened)}", os.O_CREAT | os.O_RDWR))
    return opened


def still_open(numbers: list[int]) -> bool:
    """Tell whether all of these can be written to."""
    try:
        return all(os.write(number, b".") == 1 for number in numbers)
    except OSError:
        return False


@RUNNERS
@pytest.mark.parametrize("session_of", [of_the_exchange_client, of_ccxt, of_webhooks])
def test_a_request_given_up_while_it_connects_closes_nobody_elses_file(
    runner: Callable[[Any], Any], session_of: Callable[[], Any], tmp_path: Path
) -> None:
    """Wherever a request is cancelled, what was opened under the number of its connection afterwards stays open."""

    async def run() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        session = session_of()
        numbers: list[int] = []
        connecting = asyncio.Event()
        connect = asyncio.get_running_loop().create_connection

        async def noted(*arguments: Any, sock: Any, **given: Any) -> Any:
            numbers.append(sock.fileno())
            connecting.set()
            return await connect(*arguments, sock=sock, **given)

        async def ask() -> None:
            async with session.get(url) as answer:
                await answer.read()

        asyncio.get_running_loop().create_connection = noted  # type: ignore[method-assign]
        for turns in range(6):
            connecting.clear()
            task = asyncio.ensure_future(ask())
            await connecting.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            ended = await asyncio.gather(task, return_exceptions=True)
            files = reusing(numbers[-1], tmp_path)
            ended.clear()
            del task
            gc.collect()
            assert still_open(files), f"cancelled after {turns} turns"
            for number in files:
                os.close(number)
        await getattr(session, "inner", session).close()
        server.close()
        await server.wait_closed()

    runner(run())


def test_a_number_that_is_somebody_elses_is_not_closed(tmp_path: Path) -> None:
    """A socket whose descriptor was closed beneath it, and taken by a file, leaves the file alone, whichever way it ends."""
    for ends in (OwnedSocket.close, OwnedSocket.__del__):
        made = OwnedSocket(socket.AF_INET, socket.SOCK_STREAM)
        number = made.fileno()
        os.close(number)
        file = os.open(tmp_path / "ledger", os.O_CREAT | os.O_RDWR)
        assert file == number
        ends(made)
        assert made.fileno() == -1
        assert still_open([file])
        os.close(file)


def test_a_socket_that_nobody_closed_is_closed_with_its_object() -> None:
    """As with every socket: nothing is left open."""
    made = owned_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1)))
    number = made.fileno()
    del made
    gc.collect()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(number)


def test_a_socket_that_could_not_be_made_is_none() -> None:
    """Its error is the system's own, and its end is no second one."""
    with pytest.raises(OSError, match="family"):
        OwnedSocket(9999, socket.SOCK_STREAM)
    gc.collect()
