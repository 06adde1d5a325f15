"""A cable that a drill cuts tells nobody: what was sent stays under way and arrives when it is mended."""

import asyncio
import contextlib

from onefill.gameday.cable import Cable

WORD = b"POST /v1/orders"


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(100):
            writer.write(data.upper())
            await writer.drain()
    writer.close()


async def _seen(cable: Cable, since_s: float) -> None:
    while True:
        if cable.seen_between(since_s):
            return
        await asyncio.sleep(0)


def test_a_cut_cable_holds_what_is_sent_until_it_is_mended() -> None:
    """Bytes pass; cut, nothing passes and nothing is refused, not even a new connection; mended, all arrives, in order."""

    async def play() -> None:
        server = await asyncio.start_server(_echo, "127.0.0.1", 0)
        async with server, Cable(server.sockets[0].getsockname()[1]) as cable:
            reader, writer = await asyncio.open_connection("127.0.0.1", cable.port)
            writer.write(b"one")
            assert await reader.readexactly(3) == b"ONE"
            cable.cut()
            late_reader, late = await asyncio.open_connection("127.0.0.1", cable.port)
            writer.write(b"two")
            late.write(b"new")
            first = asyncio.create_task(reader.readexactly(6))
            second = asyncio.create_task(late_reader.readexactly(3))
            done, _ = await asyncio.wait({first, second}, timeout=0.2)
            assert not done
            writer.write(b"end")
            cable.mend()
            async with asyncio.timeout(5):
                assert (await first, await second) == (b"TWOEND", b"NEW")
            for one in (writer, late):
                one.close()

    asyncio.run(play())


def test_what_is_watched_is_counted_also_in_pieces_and_while_cut() -> None:
    """A request counts when the node sends it, once, wherever its bytes are broken and whether or not it gets through."""

    async def play() -> None:
        server = await asyncio.start_server(_echo, "127.0.0.1", 0)
        async with server, Cable(server.sockets[0].getsockname()[1], watched=(WORD,)) as cable:
            reader, writer = await asyncio.open_connection("127.0.0.1", cable.port)
            for piece in (b"GET / POST /v1", b"/orders HTTP", b" x " + WORD + b" " + WORD):
                writer.write(piece)
                await reader.readexactly(len(piece))
            assert cable.seen_between(0) == 3
            cable.cut()
            since_s = asyncio.get_running_loop().time()
            writer.write(WORD)
            async with asyncio.timeout(5):
                await _seen(cable, since_s)
            assert cable.seen_between(0) == 4
            writer.close()

    asyncio.run(play())
