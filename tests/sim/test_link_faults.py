"""Each fault of the link, between a real client and a real venue: it does what it says, and is counted on evidence."""

import asyncio
import socket
from decimal import Decimal

import pytest
from link_world import CHUNKED, LOOK, ORDER, SWITCHED, UPGRADE, Client, answer, ask, counted, run, world

from onefill.sim.link_plan import FaultKind, LinkPlan, LinkSettings

# Each fault


def test_refuse():
    """A refused connection is reset before a byte is read, and the venue never hears of it."""

    async def main():
        async with world(refuse=Decimal(1)) as w:
            assert await ask(w.port, ORDER) == (b"", "reset")
            assert counted(w.link, FaultKind.REFUSE) == (1, 1)
            assert (w.link.counts.requests, w.venue.connections) == (0, 0)

    run(main)


def test_black_hole():
    """A swallowed request gets no reply, the connection is closed in the end, and the venue never hears of it."""

    async def main():
        async with world(black_hole=Decimal(1), black_hole_ms=(20, 20)) as w:
            assert await ask(w.port, ORDER) == (b"", "closed")
            assert (await w.faults.get()).effective
            assert counted(w.link, FaultKind.BLACK_HOLE) == (1, 1)
            assert w.venue.connections == 0

    run(main)


def test_black_hole_ends_when_the_client_leaves():
    """A client that gives up on a black hole frees it at once, however long it was to last."""

    async def main():
        async with world(black_hole=Decimal(1), black_hole_ms=(600_000, 600_000)) as w:
            async with Client(w.port) as client:
                await client.send(ORDER)
            assert (await w.faults.get()).effective
            assert w.venue.connections == 0

    run(main)


def test_cut_before_request():
    """The client sees a reset and the venue sees nothing."""

    async def main():
        async with world(cut_before_request=Decimal(1)) as w:
            assert await ask(w.port, ORDER) == (b"", "reset")
            assert counted(w.link, FaultKind.CUT_BEFORE_REQUEST) == (1, 1)
            assert w.venue.connections == 0

    run(main)


def test_cut_after_request():
    """The venue has the request exactly once and has answered; the client sees a reset and not one byte."""

    async def main():
        async with world(cut_after_request=Decimal(1)) as w:
            assert await ask(w.port, ORDER) == (b"", "reset")
            assert w.venue.requests == [ORDER]
            assert counted(w.link, FaultKind.CUT_AFTER_REQUEST) == (1, 1)

    run(main)


def test_cut_after_request_needs_the_venue():
    """A cut after a request that the venue never took in counts as injected, not as effective."""

    async def main():
        async with world(lambda *_: None, cut_after_request=Decimal(1)) as w:
            assert await ask(w.port, ORDER) == (b"", "reset")
            assert counted(w.link, FaultKind.CUT_AFTER_REQUEST) == (1, 0)

    run(main)


@pytest.mark.parametrize(
    "reply", [answer(1, b""), CHUNKED, b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + b"x" * 999_999]
)
@pytest.mark.parametrize("seed", range(4))
def test_cut_inside_reply(reply, seed):
    """The client gets a true beginning of the reply, never all of it, then a reset."""

    async def main():
        async with world(lambda *_: reply, seed=seed, cut_inside_reply=Decimal(1)) as w:
            got, end = await ask(w.port, ORDER)
            assert end == "reset", f"seed {seed}"
            assert 0 < len(got) < len(reply), f"seed {seed}"
            assert reply.startswith(got)
            assert w.venue.requests == [ORDER]
            assert counted(w.link, FaultKind.CUT_INSIDE_REPLY) == (1, 1)

    run(main)


def test_cut_inside_reply_needs_enough_of_one():
    """If the venue breaks off before the place of the cut, the fault counts as without effect."""
    outcomes = set()
    for seed in range(12):

        async def main(seed=seed):
            reply = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 100\r\n\r\n"
            fault = LinkPlan(LinkSettings(seed=seed, cut_inside_reply=Decimal(1))).for_request(
                b"GET", b"/orders/1", b""
            )
            point = fault.cut_point(len(reply) + 100)
            async with world(lambda *_: reply, seed=seed, cut_inside_reply=Decimal(1)) as w:
                got, end = await ask(w.port, LOOK)
                assert (got, end) == (reply[:point], "reset"), f"seed {seed}"
                effective = (await w.faults.get()).effective
                assert effective == (point <= len(reply)), f"seed {seed}"
                outcomes.add(effective)

        run(main)
    assert outcomes == {True, False}


def test_duplicate():
    """The venue gets exactly two equal copies; the client gets one reply, by seed the first or the second."""
    chosen = set()
    for seed in range(8):

        async def main(seed=seed):
            async with world(seed=seed, duplicate=Decimal(1)) as w, Client(w.port) as client:
                await client.send(ORDER)
                reply = await client.until(b"}")
                assert w.venue.requests == [ORDER, ORDER], f"seed {seed}"
                chosen.add([answer(1, b""), answer(2, b"")].index(reply))
                assert counted(w.link, FaultKind.DUPLICATE) == (1, 1)
                await client.send(LOOK)
                await client.until(b"}")
                assert w.venue.requests == [ORDER, ORDER, LOOK, LOOK], f"seed {seed}"

        run(main)
    assert chosen == {0, 1}


def test_duplicate_keeps_to_its_methods():
    """A request with another method is delivered once and is not counted as hurt."""

    async def main():
        async with world(duplicate=Decimal(1), duplicate_methods=("POST",)) as w, Client(w.port) as client:
            await client.send(LOOK)
            await client.until(b"}")
            assert w.venue.requests == [LOOK]
            assert counted(w.link, FaultKind.DUPLICATE) == (0, 0)

    run(main)


def test_delayed_request_becomes_a_ghost():
    """A held request reaches the venue although its client has long gone."""

    async def main():
        async with world(delay_request=Decimal(1), delay_request_ms=(60, 60)) as w:
            async with Client(w.port) as client:
                await client.send(ORDER)
            assert not w.venue.requests
            assert await w.venue.came.get() == ORDER
            assert (await w.faults.get()).effective
            assert w.link.counts.ghosts == 1
            assert w.venue.requests == [ORDER]

    run(main)


def test_patient_client_gets_the_delayed_answer():
    """A client that waits long enough gets its reply, and no ghost is counted."""

    async def main():
        async with world(delay_request=Decimal(1), delay_request_ms=(5, 5)) as w, Client(w.port) as client:
            await client.send(ORDER)
            assert await client.until(b"}") == answer(1, b"")
            assert counted(w.link, FaultKind.DELAY_REQUEST) == (1, 1)
            assert w.link.counts.ghosts == 0

    run(main)


def path_with(kind, **settings):
    """Return a request that meets this fault the first time."""
    plan = LinkPlan(LinkSettings(**settings))
    paths = (b"/%d" % n for n in range(1000))
    path = next(path for path in paths if plan.for_request(b"GET", path, b"").kind is kind)
    return b"GET %b HTTP/1.1\r\nHost: v\r\n\r\n" % path


def test_delay_reply():
    """The client gets a held reply whole, and late."""

    async def main():
        async with world(delay_reply=Decimal(1), delay_reply_ms=(5, 5)) as w, Client(w.port) as client:
            await client.send(ORDER)
            assert await client.until(b"}") == answer(1, b"")
            assert counted(w.link, FaultKind.DELAY_REPLY) == (1, 1)

    run(main)


def test_delay_reply_holds_only_the_reply():
    """The venue has the request at once; its reply is still held when a later request was answered."""

    async def main():
        settings = {"delay_reply": Decimal("0.5"), "delay_reply_ms": (600_000, 600_000)}
        slow, quick = path_with(FaultKind.DELAY_REPLY, **settings), path_with(FaultKind.NONE, **settings)
        async with world(**settings) as w, Client(w.port) as one, Client(w.port) as other:
            await one.send(slow)
            assert await w.venue.came.get() == slow
            await other.send(quick)
            assert await other.until(b"}") == answer(2, b"")
            with pytest.raises(BlockingIOError):
                one.sock.recv(1)

    run(main)


class Watched(set):
    """A set that tells when something is put into it."""

    def __init__(self):
        super().__init__()
        self.filled = asyncio.Event()

    def add(self, item):
        super().add(item)
        self.filled.set()


def test_reorder():
    """A held request is overtaken by the next one on another connection, and both are answered."""

    async def main():
        settings = {"reorder": Decimal("0.5"), "reorder_ms": 600_000}
        early, late = path_with(FaultKind.REORDER, **settings), path_with(FaultKind.NONE, **settings)
        async with world(**settings) as w, Client(w.port) as one, Client(w.port) as other:
            w.link.held = Watched()
            await one.send(early)
            await w.link.held.filled.wait()
            await other.send(late)
            assert await other.until(b"}") == answer(1, b"")
            assert await one.until(b"}") == answer(2, b"")
            assert w.venue.requests == [late, early]
            assert counted(w.link, FaultKind.REORDER) == (1, 1)

    run(main)


def test_reorder_without_company():
    """A request that nothing overtakes is delivered after the short maximum, and the fault counts as without effect."""

    async def main():
        async with world(reorder=Decimal(1), reorder_ms=5) as w, Client(w.port) as client:
            await client.send(ORDER)
            assert await client.until(b"}") == answer(1, b"")
            assert counted(w.link, FaultKind.REORDER) == (1, 0)

    run(main)


def test_down():
    """While the link is down the kernel refuses connects; up again it listens on the same port, venue unharmed."""

    async def main():
        async with world() as w, Client(w.port) as stays, Client(w.port) as client:
            await client.send(LOOK)
            await client.until(b"}")
            await w.link.set_down(down=True)
            with pytest.raises(ConnectionRefusedError):
                await ask(w.port, ORDER)
            await client.send(LOOK)
            await client.until(b"}")
            await w.link.set_down(down=True, cut=True)
            assert await client.rest() == (b"", "reset")
            assert await stays.rest() == (b"", "reset")
            await w.link.set_down(down=False)
            async with Client(w.port) as again:
                await again.send(LOOK)
                assert await again.until(b"}") == answer(3, b"")

    run(main)


def test_close_while_all_is_held():
    """Closing ends every hold at once; a fault that had no effect by then is told as such."""
    for kind in (FaultKind.BLACK_HOLE, FaultKind.DELAY_REQUEST, FaultKind.DELAY_REPLY, FaultKind.REORDER):

        async def main(kind=kind):
            rates = {kind.value: Decimal(1)}
            if kind is not FaultKind.REORDER:
                rates[f"{kind.value}_ms"] = (600_000, 600_000)
            async with world(**rates, **({"reorder_ms": 600_000} if kind is FaultKind.REORDER else {})) as w:
                started = asyncio.Event()
                inject = w.link.recorded
                w.link.recorded = lambda record: (started.set(), inject(record))[1]
                async with Client(w.port) as client:
                    await client.send(ORDER)
                    await started.wait()
                    if kind is FaultKind.DELAY_REPLY:
                        await w.venue.came.get()
                    await w.link.close()
                    assert (await client.rest())[0] == b""
                assert counted(w.link, kind) == (1, 0)
                assert not w.faults.get_nowait().effective

        run(main)


# Streams


def test_tunnel_passes_both_ways():
    """After 101 the bytes of a WebSocket pass unchanged in both directions until either side closes."""

    async def main():
        async with world(lambda *_: SWITCHED, duplicate=Decimal(1)) as w, Client(w.port) as client:
            await client.send(UPGRADE)
            assert await client.until(b"\r\n\r\n") == SWITCHED
            for frame in (b"\x81\x05hello", b"\r\n\r\n\x00", b"x" * 300_000 + b"end"):
                await client.send(frame)
                assert await client.until(frame) == frame
            client.sock.shutdown(socket.SHUT_WR)
            assert await client.rest() == (b"", "closed")
            assert w.venue.requests == [UPGRADE]
            assert counted(w.link, FaultKind.DUPLICATE) == (0, 0)

    run(main)


def test_tunnel_is_cut_by_bytes():
    """A tunnel that is to be cut passes exactly so many bytes to the client, then resets it."""

    async def main():
        rates = {"stream_cut": Decimal(1), "stream_cut_bytes": (100, 100), "stream_cut_ms": (600_000, 600_000)}
        async with world(lambda *_: SWITCHED, **rates) as w, Client(w.port) as client:
            await client.send(UPGRADE)
            await client.until(b"\r\n\r\n")
            await client.send(b"y" * 250)
            assert await client.rest() == (b"y" * 100, "reset")
            record = await w.faults.get()
            assert (record.path, record.effective) == ("/ws", True)
            assert counted(w.link, FaultKind.STREAM_CUT) == (1, 1)

    run(main)


def test_tunnel_is_cut_by_time():
    """A tunnel that is to be cut is reset after its time even if nothing flows."""

    async def main():
        rates = {"stream_cut": Decimal(1), "stream_cut_ms": (10, 10)}
        async with world(lambda *_: SWITCHED, **rates) as w, Client(w.port) as client:
            await client.send(UPGRADE)
            await client.until(b"\r\n\r\n")
            assert await client.rest() == (b"", "reset")
            assert (await w.faults.get()).effective

    run(main)


def test_tunnel_that_ends_before_its_cut():
    """A cut planned for a tunnel that was closed before is counted as injected and without effect."""

    async def main():
        rates = {"stream_cut": Decimal(1), "stream_cut_ms": (600_000, 600_000)}
        async with world(lambda *_: SWITCHED, **rates) as w:
            async with Client(w.port) as client:
                await client.send(UPGRADE)
                await client.until(b"\r\n\r\n")
            assert not (await w.faults.get()).effective
            assert counted(w.link, FaultKind.STREAM_CUT) == (1, 0)

    run(main)


def test_raw_passes_both_ways():
    """In raw mode any bytes pass unchanged, and the end of one direction does not end the other."""

    async def main():
        async with world(protocol="raw", echo=True) as w, Client(w.port) as client:
            data = b"8=FIX.4.4\x01" + b"z" * 500_000

            async def send_all():
                await client.send(data)
                client.sock.shutdown(socket.SHUT_WR)

            sending = asyncio.create_task(send_all())
            assert await client.rest() == (data, "closed")
            await sending
            assert w.venue.stream == data
            assert w.link.counts.bytes_to_venue == w.link.counts.bytes_to_client == len(data)

    run(main)


@pytest.mark.parametrize("seed", range(4))
def test_raw_cut(seed):
    """A raw connection is cut inside the chunk that was hit: the venue has a part of it, the client a reset."""

    async def main():
        logon = b"8=FIX.4.4\x019=73\x0135=A\x01"
        fault = LinkPlan(LinkSettings(seed=seed, stream_cut=Decimal(1))).for_chunk(
            towards_client=False, data=logon, raw=True
        )
        async with world(protocol="raw", echo=True, seed=seed, stream_cut=Decimal(1)) as w:
            assert await ask(w.port, logon) == (b"", "reset")
            assert (await w.faults.get()).effective
            await asyncio.gather(*w.venue.tasks)
            assert w.venue.stream == logon[: fault.share * len(logon) >> 64], f"seed {seed}"
            assert w.link.counts.kinds[FaultKind.STREAM_CUT].effective == 1

    run(main)


def test_raw_black_hole():
    """A raw connection that falls silent swallows what is sent and is closed in the end."""

    async def main():
        async with world(protocol="raw", echo=True, stream_black_hole=Decimal(1), black_hole_ms=(10, 10)) as w:
            assert await ask(w.port, b"8=FIX.4.4\x01") == (b"", "closed")
            assert (await w.faults.get()).effective
            assert w.venue.stream == b""

    run(main)


def test_stream_delay_keeps_order():
    """Delayed chunks arrive late, all of them, and in their order."""

    async def main():
        async with world(protocol="raw", echo=True, stream_delay=Decimal(1), stream_delay_ms=(1, 3)) as w:
            async with Client(w.port) as client:
                for n in range(20):
                    await client.send(b"message %02d;" % n)
                got = await client.until(b"message 19;")
            assert got == b"".join(b"message %02d;" % n for n in range(20))
            injected, effective = counted(w.link, FaultKind.STREAM_DELAY)
            assert injected == effective >= 2

    run(main)
