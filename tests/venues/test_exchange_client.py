"""The exchange adapter against the real server, and against a server that misbehaves."""

import asyncio
from typing import Any

import pytest
from venue_kit import (
    ACME,
    DIALECT_ANSWER,
    HANG,
    KEPT_DIALECT_ANSWER,
    NOON_US,
    OddServer,
    cancel,
    connected,
    http,
    order,
    replace,
    run,
    serving,
    shown,
)

from onefill.core.capabilities import DuplicateReply, Lookup, ReplaceStyle, UniqueScope
from onefill.core.errors import InvalidField, VenueError
from onefill.core.messages import (
    Accepted,
    Canceled,
    CancelRejected,
    DuplicateId,
    Found,
    NotFound,
    NotSent,
    Rejected,
    Throttled,
    TooLate,
    Unknown,
    VenueStatus,
)
from onefill.ports.venue import Venue
from onefill.sim.dialect import Dialect, capabilities_of
from onefill.venues.exchange_client import ExchangeVenue


class TestAgainstTheRealServer:
    def test_an_order_lives_and_dies_as_in_the_exchange(self) -> None:
        """Submit, look-up and cancel over HTTP give what the exchange itself shows, exactly."""

        async def scenario() -> None:
            async with serving() as (exchange, url), connected(url) as client:
                venue: Venue = client
                assert dict(await venue.instruments()) == {"ACME": ACME}
                reply = await venue.submit(order("x", quantity="1.5", price="9.95"))
                assert reply == Accepted(exchange.open_orders("A")[0])
                assert await venue.lookup("x", "A", "ACME") == Found(exchange.open_orders("A")[0])
                assert isinstance(await venue.lookup("y", "A", "ACME"), NotFound)
                canceled = await venue.cancel(cancel("x", "X1"))
                assert isinstance(canceled, Canceled)
                assert canceled.order.status is VenueStatus.CANCELED
                again = await venue.cancel(cancel("x"))
                assert again == CancelRejected("order is already canceled", canceled.order)
                assert await venue.cancel(cancel("y")) == CancelRejected("unknown order", None)
                assert await venue.executions(0) == exchange.executions("A", 0)
                assert [report.position for report in await venue.executions(1)] == [2]

        run(scenario)

    def test_each_refusal_arrives_as_itself(self) -> None:
        """Rejected with its code, TooLate, DuplicateId and Throttled with its delay survive the wire."""

        async def scenario() -> None:
            async with serving(requests_per_s=10, burst=4) as (_, url), connected(url) as venue:
                rejected = await venue.submit(order("x", price="9.99"))
                assert isinstance(rejected, Rejected)
                assert rejected.code == "off_grid_price"
                assert isinstance(await venue.submit(order("x", expires_at_us=NOON_US - 1)), TooLate)
                assert isinstance(await venue.submit(order("x")), Accepted)
                assert isinstance(await venue.submit(order("x")), DuplicateId)
                assert await venue.submit(order("y")) == Throttled("too many requests", 0.1)
                assert await venue.cancel(cancel("x")) == Throttled("too many requests", 0.1)

        run(scenario)

    def test_what_the_exchange_declares_is_learnt_at_start(self) -> None:
        """The capabilities come over the wire unchanged; before start there are none."""

        async def scenario() -> None:
            dialect: dict[str, Any] = {
                "unique_scope": UniqueScope.OPEN,
                "duplicate_reply": DuplicateReply.ORIGINAL,
                "lookup": Lookup.SCAN,
                "replace": ReplaceStyle.NEW_ID,
                "cancel_by_client_order_id": False,
                "conclusive_after_s": None,
            }
            async with serving(**dialect) as (_, url), connected(url) as venue:
                assert venue.capabilities == capabilities_of(Dialect(**dialect))
                assert isinstance(await venue.lookup("x", "A", "ACME"), Unknown)
            with pytest.raises(VenueError, match="start"):
                _ = ExchangeVenue(url, "A").capabilities

        run(scenario)

    def test_a_hundred_copies_at_once_make_one_order(self) -> None:
        """However many copies of one request arrive together, one is accepted and the rest are duplicates."""

        async def scenario() -> None:
            async with serving() as (exchange, url), connected(url) as venue:
                replies = await asyncio.gather(*(venue.submit(order("x")) for _ in range(100)))
                assert sum(isinstance(reply, Accepted) for reply in replies) == 1
                assert sum(isinstance(reply, DuplicateId) for reply in replies) == 99
                assert len(exchange.all_orders()) == 1

        run(scenario)

    def test_an_order_for_another_account_is_refused_unsent(self) -> None:
        """A connection for one account takes no order for another, whose fills it would never see."""

        async def scenario() -> None:
            async with serving() as (exchange, url), connected(url) as venue:
                reply = await venue.submit(order("x", account="B"))
                assert isinstance(reply, Rejected)
                assert exchange.counts().submits == 0

        run(scenario)


STRANGE = {
    "closed without a word": None,
    "not HTTP at all": b"what?\r\n\r\n",
    "cut in the status line": b"HTTP/1.1 20",
    "cut in the headers": b"HTTP/1.1 200 OK\r\nContent-Le",
    "cut in the body": http(200, b'{"order":{"client', length=400),
    "cut before the body": http(200, b"", length=400),
    "cut in a chunked body": b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{"order"\r\n',
    "cut where only the close ends it": b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"order":{"client',
    "200 with HTML": http(200, b"<html>Welcome</html>"),
    "200 with nothing": http(200, b""),
    "200 without an order": http(200, {}),
    "200 with a null order": http(200, {"order": None}),
    "200 with a null list": http(200, {"orders": None}),
    "200 with a list cut by a proxy": http(200, b'{"orders":[]'),
    "200 about another order": http(200, {"order": shown("other", VenueStatus.CANCELED)}),
    "204": http(204, b""),
    "redirect": http(307, b"", "Location: /v1/elsewhere", "Connection: close"),
    "400 with HTML": http(400, b"<html>Bad request</html>"),
    "400 about something in between": http(400, b'{"code":"replace_rejected"}'),
    "400 without a code": http(400, {"reason": "no"}),
    "403": http(403, {"code": "forbidden", "reason": "no"}),
    "404 with HTML": http(404, b"<html>Not found</html>"),
    "404 with another code": http(404, {"code": "no_route", "reason": "no"}),
    "408": http(408, {"code": "request_timeout", "reason": "slow"}),
    "409 with another code": http(409, {"code": "conflict", "reason": "no"}),
    "429 with HTML": http(429, b"<html>Slow down</html>", "Retry-After: 1"),
    "500": http(500, {"code": "internal", "reason": "oops"}),
    "502 with HTML": http(502, b"<html>Bad gateway</html>"),
    "503": http(503, b""),
    "504 with a known code": http(504, {"code": "not_found", "reason": "no"}),
}


class TestMisbehaviour:
    @pytest.mark.parametrize("answer", STRANGE.values(), ids=STRANGE.keys())
    @pytest.mark.parametrize("call", ["submit", "cancel", "replace", "lookup", "scan"])
    def test_whatever_is_no_proof_is_unknown_and_sent_once(self, call: str, answer: bytes | None) -> None:
        """Cut, garbled, foreign or failed answers prove nothing: the reply is Unknown, with a reason, after one request."""

        async def scenario() -> None:
            async with OddServer(DIALECT_ANSWER, answer) as odd, connected(odd.url) as venue:
                reply: object
                if call == "submit":
                    reply = await venue.submit(order("x"))
                elif call == "cancel":
                    reply = await venue.cancel(cancel("x"))
                elif call == "replace":
                    reply = await venue.replace(replace("x"))
                elif call == "scan":
                    reply = await venue.scan("A", "ACME", 0)
                else:
                    reply = await venue.lookup("x", "A", "ACME")
                assert isinstance(reply, Unknown), reply
                assert reply.reason
                assert len(odd.requests) == 2, odd.requests

        run(scenario)

    def test_no_answer_in_time_is_unknown(self) -> None:
        """A request that was taken and never answered may have worked."""

        async def scenario() -> None:
            async with OddServer(DIALECT_ANSWER, HANG) as odd, connected(odd.url, timeout_s=0.2) as venue:
                assert isinstance(await venue.submit(order("x")), Unknown)
                assert isinstance(await venue.cancel(cancel("x")), Unknown)
                assert isinstance(await venue.replace(replace("x")), Unknown)
                assert isinstance(await venue.scan("A", "ACME", 0), Unknown)

        run(scenario)

    def test_a_dropped_kept_connection_does_not_resend(self) -> None:
        """aiohttp would resend a GET after the drop of a kept connection; here each call is one request."""

        async def scenario() -> None:
            async with OddServer(KEPT_DIALECT_ANSWER, None, keep=True) as odd, connected(odd.url) as venue:
                assert isinstance(await venue.lookup("x", "A", "ACME"), Unknown)
                assert isinstance(await venue.scan("A", "ACME", 0), Unknown)
                assert [line.split()[0] for line in odd.requests] == ["GET", "GET", "GET"]

        run(scenario)

    def test_a_refused_connection_is_not_sent(self) -> None:
        """Where nobody listens nothing can have left; look-up and scan, which have no such reply, are Unknown."""

        async def scenario() -> None:
            async with OddServer(DIALECT_ANSWER) as odd:
                venue = ExchangeVenue(odd.url, "A")
                await venue.start()
            assert isinstance(await venue.submit(order("x")), NotSent)
            assert isinstance(await venue.cancel(cancel("x")), NotSent)
            assert isinstance(await venue.replace(replace("x")), NotSent)
            assert isinstance(await venue.lookup("x", "A", "ACME"), Unknown)
            assert isinstance(await venue.scan("A", "ACME", 0), Unknown)
            await venue.close()

        run(scenario)

    def test_no_connection_to_be_had_in_time_is_not_sent(self) -> None:
        """A request that waited in vain for a connection was never sent; the one that had it may have been."""

        async def scenario() -> None:
            settings = {"timeout_s": 0.4, "connect_timeout_s": 0.1, "connections": 1}
            async with OddServer(DIALECT_ANSWER, HANG) as odd, connected(odd.url, **settings) as venue:
                odd.came.clear()
                first = asyncio.create_task(venue.submit(order("x")))
                await odd.came.wait()
                assert isinstance(await venue.submit(order("y")), NotSent)
                assert isinstance(await first, Unknown)
                assert len(odd.requests) == 2

        run(scenario)

    def test_a_closed_adapter_sends_nothing(self) -> None:
        """Before start and after close the reply is NotSent."""

        async def scenario() -> None:
            venue = ExchangeVenue("http://127.0.0.1:9", "A")
            assert isinstance(await venue.submit(order("x")), NotSent)
            async with serving() as (_, url), connected(url) as venue:
                pass
            assert isinstance(await venue.submit(order("x")), NotSent)

        run(scenario)

    def test_a_cancel_answered_with_a_live_order_is_unknown(self) -> None:
        """200 to a cancel is believed only if the order shown is cancelled, and a refusal only about the order asked for."""

        async def scenario() -> None:
            close = "Connection: close"
            wrong = {"code": "cancel_rejected", "reason": "no", "order": shown("other")}
            async with (
                OddServer(DIALECT_ANSWER, http(200, {"order": shown("x")}, close), http(400, wrong)) as odd,
                connected(odd.url) as venue,
            ):
                for at_fault in ("HTTP 200", "HTTP 400"):
                    reply = await venue.cancel(cancel("x"))
                    assert isinstance(reply, Unknown)
                    assert at_fault in reply.reason

        run(scenario)


class TestStart:
    def test_start_gets_through_a_faulty_way(self) -> None:
        """Three lost answers do not keep it from starting: reading is harmless to repeat."""

        async def scenario() -> None:
            async with (
                OddServer(None, b"HTTP/1.1 2", http(503, b""), DIALECT_ANSWER) as odd,
                connected(odd.url, pause_s=0.0),
            ):
                assert len(odd.requests) == 4

        run(scenario)

    def test_start_gives_up_after_its_attempts_and_says_what_to_do(self) -> None:
        """The attempts are bounded; the error names the address, the last failure and a remedy."""

        async def scenario() -> None:
            async with OddServer(http(502, b"<html>")) as odd:
                venue = ExchangeVenue(odd.url, "A", start_attempts=3, pause_s=0.0)
                with pytest.raises(VenueError, match=r"3 attempts.*HTTP 502.*onefill exchange"):
                    await venue.start()
                assert len(odd.requests) == 3

        run(scenario)

    @pytest.mark.parametrize("url", ["", "localhost:80", "ftp://x", "http://", "http://x:port"])
    def test_an_unusable_url_is_refused_at_once(self, url: str) -> None:
        """A URL that cannot work is named when the adapter is made."""
        with pytest.raises(InvalidField):
            ExchangeVenue(url, "A")

    @pytest.mark.parametrize("setting", [{"timeout_s": 0}, {"silence_s": 0}, {"start_attempts": 0}])
    def test_a_time_out_of_zero_is_refused(self, setting: dict[str, Any]) -> None:
        """No time-out can be switched off."""
        with pytest.raises(InvalidField):
            ExchangeVenue("http://x", "A", **setting)
