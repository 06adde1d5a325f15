"""The link between a real client and a real venue on this host: calm it changes no byte, and a seed repeats a run."""

import asyncio
import contextlib
import io
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link_world import CHUNKED, HEAD, LOOK, ORDER, UPGRADE, Client, answer, ask, run, world

from onefill.core.errors import InvalidField
from onefill.sim.link import FaultyLink, trace_to
from onefill.sim.link_plan import REQUEST_KINDS, LinkSettings
from onefill.sim.link_wire import HIGH_WATER, MAX_MESSAGE, End, Framer, NotHttp


def test_calm_changes_no_byte():
    """Requests reach the venue, and replies the client, byte for byte, over one connection each way."""

    async def main():
        async with world() as w, Client(w.port) as client:
            for n, request in enumerate((ORDER, LOOK, ORDER), 1):
                await client.send(request)
                assert await client.until(b"}") == answer(n, request)
            assert w.venue.requests == [ORDER, LOOK, ORDER]
            assert w.venue.connections == w.link.counts.connections == 1
            assert w.link.counts.requests == 3
            assert w.link.counts.bytes_to_venue == len(ORDER + LOOK + ORDER)
            assert w.link.counts.bytes_to_client == 3 * len(answer(1, b""))
            assert not w.link.counts.hurt
            assert not w.link.counts.unreachable

    run(main)


def test_pipelined_requests_stay_in_order():
    """Requests sent without waiting are answered one after the other, in order."""

    async def main():
        async with world() as w, Client(w.port) as client:
            await client.send(ORDER + LOOK + ORDER)
            for n in (1, 2, 3):
                assert await client.until(b"}") == answer(n, b"")
            assert w.venue.requests == [ORDER, LOOK, ORDER]

    run(main)


REPLIES = [
    (LOOK, CHUNKED),
    (LOOK, b"HTTP/1.1 204 No Content\r\n\r\n"),
    (LOOK, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"),
    (HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
    (LOOK, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    (LOOK, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer(1, b"")),
    (UPGRADE, b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 1\r\n\r\nx"),
    (LOOK, b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000),
]


@pytest.mark.parametrize(("request_", "reply"), REPLIES)
def test_every_kind_of_reply_ends_where_it_ends(request_, reply):
    """Chunked, empty, interim, refused-upgrade and large replies pass unchanged, and the next request is answered."""

    async def main():
        def replies(number, request):
            return reply if number == 1 else answer(number, request)

        async with world(replies) as w, Client(w.port) as client:
            await client.send(request_)
            assert await client.until(reply) == reply
            await client.send(LOOK)
            assert await client.until(b"}") == answer(2, b"")

    run(main)


def test_reply_that_ends_with_the_connection():
    """A reply without a length lasts until the venue closes, and then the client's connection is closed, not reset."""

    async def main():
        reply = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it"
        async with world(lambda *_: reply) as w:
            assert await ask(w.port, LOOK) == (reply, "closed")

    run(main)


def test_chunked_request():
    """A chunked request is held until it is whole and then passed unchanged."""

    async def main():
        chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        async with world() as w, Client(w.port) as client:
            await client.send(chunked + LOOK)
            await client.until(b"}")
            await client.until(b"}")
            assert w.venue.requests == [chunked, LOOK]

    run(main)


def test_expecting_client_is_told_to_go_on():
    """A client that waits for 100 Continue gets it from the link, as the venue sees nothing before the body."""

    async def main():
        head = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        async with world() as w, Client(w.port) as client:
            await client.send(head)
            await client.until(b"100 Continue\r\n\r\n")
            await client.send(b"{}")
            assert await client.until(b"}") == answer(1, b"")
            assert w.venue.requests == [head + b"{}"]

    run(main)


def test_idle_close_by_the_venue_is_seen_by_the_client():
    """When the venue closes an idle connection so does the link: a pool must not send into a dead one."""

    async def main():
        async with world() as w, Client(w.port) as client:
            await client.send(LOOK)
            await client.until(b"}")
            w.venue.writers[0].close()
            assert await client.rest() == (b"", "closed")
            assert not w.link.counts.unreachable

    run(main)


def test_not_http_is_reset():
    """What is not HTTP never reaches the venue; it is counted."""

    async def main():
        async with world() as w:
            assert await ask(w.port, b"8=FIX.4.4\x019=5\x01\r\n") == (b"", "reset")
            assert w.link.counts.malformed == 1
            assert not w.venue.requests

    run(main)


def test_unreachable_venue():
    """Where no venue listens the client is reset, and it is counted."""

    async def main():
        async with world() as w:
            w.venue.server.close()
            assert await ask(w.port, ORDER) == (b"", "reset")
            assert w.link.counts.unreachable == 1

    run(main)


def test_venue_that_hangs_up():
    """A venue that closes without a reply leaves the client with a reset."""

    async def main():
        async with world(lambda *_: None) as w:
            assert await ask(w.port, ORDER) == (b"", "reset")
            assert w.venue.requests == [ORDER]
            assert w.link.counts.unreachable == 1

    run(main)


def test_patience_ends():
    """A venue that never answers a client that has gone is waited for, but not for ever."""

    async def main():
        async with world(lambda *_: b"") as w:
            w.link.patience_s = 0.01
            async with Client(w.port) as client:
                await client.send(ORDER)
                await w.venue.came.get()
            await asyncio.gather(*w.venue.tasks)
            assert w.venue.requests == [ORDER]

    run(main)


# Over a whole run


def test_same_seed_same_victims():
    """The same requests are hurt in the same ways whether they come one by one or all at once."""

    async def main(width):
        rates = {kind.value: Decimal("0.1") for kind in REQUEST_KINDS}
        quick = {"black_hole_ms": (1, 2), "delay_request_ms": (1, 2), "delay_reply_ms": (1, 2), "reorder_ms": 2}
        async with world(seed=11, **rates, **quick) as w:
            room = asyncio.Semaphore(width)

            async def one(n):
                async with room, Client(w.port) as client:
                    await client.send(b"GET /%d HTTP/1.1\r\nHost: v\r\n\r\n" % (n // 2))
                    with contextlib.suppress(ConnectionError, AssertionError):
                        await client.until(b"}")

            await asyncio.gather(*(one(n) for n in range(120)))
            told = [await w.faults.get() for _ in range(w.link.counts.hurt)]
            assert w.link.counts.requests == 120
            return sorted((record.path, record.kind.value) for record in told)

    alone = run(lambda: main(1))
    assert len(alone) > 60
    assert alone == run(lambda: main(32))


def test_trace():
    """Each fault is one line of JSON, without the query, which may hold a signature."""

    async def main():
        file = io.BytesIO()
        async with world(cut_after_request=Decimal(1)) as w:
            w.link._on_fault = trace_to(file)
            await ask(w.port, ORDER)
            await ask(w.port, LOOK)
        return [json.loads(line) for line in file.getvalue().splitlines()]

    assert run(main) == [
        {"n": 1, "kind": "cut_after_request", "method": "POST", "path": "/orders", "effective": True},
        {"n": 2, "kind": "cut_after_request", "method": "GET", "path": "/orders/1", "effective": True},
    ]


def test_unknown_protocol():
    """A protocol the link does not know is refused by name."""
    with pytest.raises(InvalidField, match="protocol"):
        FaultyLink("h", 1, LinkSettings(), protocol="udp")


# Boundaries and backpressure

MESSAGES = [
    (ORDER, None),
    (LOOK, None),
    (HEAD, None),
    *((reply, request[:4].strip()) for request, reply in REPLIES[:6]),
]

BEHIND = st.one_of(st.binary(max_size=9), st.sampled_from([b"x\r\n\r\n", b"\r\n\r\n", ORDER]))


@given(st.sampled_from(MESSAGES), st.lists(st.integers(1, 90), max_size=8), BEHIND)
def test_boundaries_do_not_depend_on_packets(message, cuts, behind):
    """However a message is cut into packets, and whatever follows it, its end is found exactly."""
    data, reply_to = message
    stream = data + behind
    edges = sorted({cut for cut in cuts if cut < len(stream)} | {len(stream)})
    framer, start, used = Framer(reply_to=reply_to), 0, 0
    for edge in edges:
        taken = framer.feed(stream[start:edge])
        used += taken
        if framer.complete:
            break
        assert taken == edge - start
        start = edge
    assert framer.complete
    assert used == framer.consumed == framer.known_length == len(data)
    if reply_to is None:
        assert framer.target == data.split()[1]
        assert bytes(framer.body) == data.partition(b"\r\n\r\n")[2]


def test_too_large():
    """A request too large to hold is an error, not a full memory."""
    framer = Framer()
    framer.feed(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (2 * MAX_MESSAGE))
    with pytest.raises(NotHttp):
        framer.feed(b"x" * (MAX_MESSAGE + 1))


class Pipe(asyncio.Transport):
    """A transport that notes what it is told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def pause_reading(self):
        self.told.append("pause")

    def resume_reading(self):
        self.told.append("resume")

    def is_closing(self):
        return False

    def write(self, data):
        self.told.append(data)


def test_reading_stops_when_nobody_takes():
    """A connection whose bytes are not taken stops reading past the high water mark, and goes on once they are."""
    end, pipe = End(lambda _: None, lambda _: None), Pipe()
    end.connection_made(pipe)
    end.data_received(b"x" * HIGH_WATER)
    assert pipe.told == []
    end.data_received(b"x")
    assert pipe.told == ["pause"]
    assert len(end.take()) == HIGH_WATER + 1
    assert pipe.told == ["pause", "resume"]


def test_writers_wait_for_a_slow_reader():
    """Whoever writes waits while the transport is full, and is let go when it has room or the connection is lost."""

    async def main():
        for let_go in (lambda end: end.resume_writing(), lambda end: end.connection_lost(None)):
            end, pipe = End(lambda _: None, lambda _: None), Pipe()
            end.connection_made(pipe)
            end.pause_writing()
            writing = asyncio.create_task(end.write(b"x"))
            await asyncio.wait({writing}, timeout=0)
            assert not writing.done()
            let_go(end)
            await writing
            assert pipe.told == [b"x"]

    run(main)
