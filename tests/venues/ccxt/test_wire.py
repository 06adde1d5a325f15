"""What leaves and what does not: one send for each call, a last look, and errors judged by what was seen on the wire."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import ccxt
import ccxt.async_support
import pytest
from aiohttp import web

from onefill.core.errors import InvalidField, VenueError
from onefill.core.messages import (
    Accepted,
    CancelRequest,
    NotSent,
    Rejected,
    SubmitReply,
    SubmitRequest,
    Throttled,
    TooLate,
    Unknown,
)
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.sim.imitations import spoils
from onefill.sim.imitations.base import ACCOUNT, Imitation
from onefill.sim.imitations.binance import BinanceSpot
from onefill.sim.imitations.deribit import DeribitImitation
from onefill.sim.imitations.kraken import KrakenImitation
from onefill.sim.venue import wall_clock_us
from onefill.venues.ccxt import client as clients
from onefill.venues.ccxt.address import point
from onefill.venues.ccxt.manners import Signing, manners_of
from onefill.venues.ccxt.venue import CcxtVenue
from onefill.venues.ccxt.witness import Witness

ID = "ab" * 16


@contextlib.asynccontextmanager
async def connected(
    kind: type[Imitation] = BinanceSpot, client: Any = None, **settings: Any
) -> AsyncIterator[tuple[CcxtVenue, Any]]:
    """Serve an imitation; yield the adapter connected to it, and the imitation."""
    imitation = kind()
    await imitation.start()
    config = {**imitation.config(), "enableRateLimit": False, **settings.pop("config", {})}
    given: dict[str, Any] = {"timeout_s": 5.0, "streams": False, **settings}
    if client is None:
        venue = CcxtVenue(kind.ccxt_id, ACCOUNT, config=config, url=imitation.url, **given)
    else:
        made = client(ccxt.Exchange.deep_extend(manners_of(kind.ccxt_id).config, config))
        venue = CcxtVenue(point(made, imitation.url), ACCOUNT, **given)
    await venue.start()
    try:
        yield venue, imitation
    finally:
        await venue.close()
        if client is not None and not venue._client.asynchronous:
            venue._client.raw.close()
        await imitation.close()


def order(imitation: Imitation, **changed: Any) -> SubmitRequest:
    """Return a new order that rests."""
    instrument = imitation.instruments[0]
    given: dict[str, Any] = {
        "client_order_id": ID,
        "account": ACCOUNT,
        "instrument": instrument.symbol,
        "side": Side.BUY,
        "quantity": instrument.min_quantity * 10,
        "order_type": OrderType.LIMIT,
        "price": Decimal(100),
        "time_in_force": TimeInForce.GTC,
        "expires_at_us": wall_clock_us() + 3_000_000,
    }
    return SubmitRequest(**{**given, **changed})


def orders_at(imitation: Imitation) -> int:
    """Return how many orders the venue has ever taken."""
    return len(imitation.exchange.all_orders())


def run(scenario: Any) -> None:
    """Run a scenario; one that hangs fails."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(bounded())


@pytest.mark.parametrize("kind", [BinanceSpot, DeribitImitation])
def test_a_last_look_keeps_an_order_back_whole(kind: type[Imitation]) -> None:
    """Where the last look says no, not a byte of the request leaves, be it a POST with a body or a GET; it was not sent."""

    async def scenario() -> None:
        async with connected(kind) as (venue, imitation):
            before = sum(imitation.requests.values())
            venue.last_look = lambda: "the lease is over"
            reply = await venue.submit(order(imitation))
            assert isinstance(reply, NotSent)
            assert "the lease is over" in reply.reason
            assert sum(imitation.requests.values()) == before
            assert orders_at(imitation) == 0
            venue.last_look = lambda: None
            assert not isinstance(await venue.submit(order(imitation)), NotSent)
            assert orders_at(imitation) == 1

    run(scenario)


def test_a_body_is_looked_at_once_more_after_its_headers() -> None:
    """Between headers and body lie turns of the event loop: what forbids it in between keeps the whole request back."""

    async def scenario() -> None:
        async with connected() as (venue, imitation):
            looks = iter([None, "stopped in between"])
            venue.last_look = lambda: next(looks)
            reply = await venue.submit(order(imitation))
            assert isinstance(reply, NotSent)
            assert "stopped in between" in reply.reason
            assert orders_at(imitation) == 0

    run(scenario)


SPOILS = {
    "dropped": spoils.drop,
    "torn": spoils.truncate,
    "a page": spoils.html,
    "502": spoils.status(502),
    "504": spoils.status(504),
    "500 with a refusal": spoils.status(500, '{"code":-2010,"msg":"insufficient balance"}', "application/json"),
    "408": spoils.status(408),
    "an empty object": spoils.status(200, "{}", "application/json"),
    "an empty list": spoils.status(200, "[]", "application/json"),
    "null": spoils.status(200, "null", "application/json"),
    "nothing": spoils.status(200, "", "application/json"),
    "another order": spoils.status(200, '{"symbol":"BTCUSDT","orderId":9,"clientOrderId":"x"}', "application/json"),
}


@pytest.mark.parametrize("spoilt", sorted(SPOILS))
@pytest.mark.parametrize("client", [None, ccxt.binance])
def test_a_lost_reply_is_unknown_and_sent_once(spoilt: str, client: Any) -> None:
    """Whatever comes in place of the reply to an order that was taken: unknown, one send, one order."""

    async def scenario() -> None:
        async with connected(client=client, config={"options": {"maxRetriesOnFailure": 3}}) as (venue, imitation):
            imitation.spoilt.extend([SPOILS[spoilt]] * 5)
            reply = await venue.submit(order(imitation))
            assert isinstance(reply, Unknown), reply
            assert orders_at(imitation) == 1
            assert imitation.exchange.counts().submits == 1

    run(scenario)


REFUSALS: dict[str, tuple[int, str, type[SubmitReply]]] = {
    "insufficient": (400, '{"code":-2010,"msg":"Account has insufficient balance for requested action."}', Rejected),
    "late": (400, '{"code":-1021,"msg":"Timestamp for this request is outside of the recvWindow."}', TooLate),
    "rate": (429, '{"code":-1003,"msg":"Too many requests."}', Throttled),
    "overloaded": (503, '{"code":-1008,"msg":"Server is currently overloaded with other requests."}', Throttled),
    "unknown status": (400, '{"code":-1007,"msg":"Timeout waiting for response from backend server."}', Unknown),
    "no code we know": (400, '{"code":-9999,"msg":"hm"}', Unknown),
}


@pytest.mark.parametrize("refusal", sorted(REFUSALS))
@pytest.mark.parametrize("client", [None, ccxt.binance])
def test_what_the_venue_says_counts_as_it_says_it(refusal: str, client: Any) -> None:
    """A refusal in the venue's own words is evidence; its word that it does not know, or an unknown code, is not."""
    status, text, kind = REFUSALS[refusal]

    async def scenario() -> None:
        async with connected(client=client) as (venue, imitation):
            imitation.unheard.append(lambda: web.Response(status=status, text=text, content_type="application/json"))
            reply = await venue.submit(order(imitation))
            assert isinstance(reply, kind), reply
            assert orders_at(imitation) == 0

    run(scenario)


@pytest.mark.parametrize("shown", [True, False])
def test_a_refusal_from_in_front_of_the_venue_is_believed_when_no_order_shows(shown: bool) -> None:
    """HTTP 403 without the venue's words may come from anything on the way: the order is looked up before it counts."""

    async def scenario() -> None:
        async with connected() as (venue, imitation):
            refused = spoils.status(403, "Forbidden")
            if shown:
                imitation.spoilt.append(refused)
            else:
                imitation.unheard.append(lambda: web.Response(status=403, text="Forbidden"))
            reply = await venue.submit(order(imitation))
            assert type(reply).__name__ == ("Accepted" if shown else "Rejected"), reply
            assert orders_at(imitation) == int(shown)

    run(scenario)


def test_a_redirect_is_not_followed() -> None:
    """A redirect of an order would send it a second time: it is not followed, and what became of the order is unknown."""

    async def scenario() -> None:
        for client in (None, ccxt.binance):
            async with connected(client=client) as (venue, imitation):
                to = {"Location": f"{imitation.url}/api/v3/order"}
                imitation.spoilt.append(lambda _, to=to: web.Response(status=307, headers=to))
                reply = await venue.submit(order(imitation))
                assert isinstance(reply, Unknown), reply
                assert imitation.exchange.counts().submits == 1

    run(scenario)


@pytest.mark.parametrize("client", [None, ccxt.binance])
def test_no_connection_means_not_sent(client: Any) -> None:
    """Where nobody listens nothing was sent, and it says so."""

    async def scenario() -> None:
        async with connected(client=client) as (venue, imitation):
            await imitation.close()
            if client is None:
                await venue._client.exchange.session.close()  # no connection is left over from the start
                venue._client.exchange.session = None
            reply = await venue.submit(order(imitation))
            # A connection that was kept open may have taken the request before it broke: then it is unknown.
            assert isinstance(reply, NotSent if client is None else NotSent | Unknown), reply
            assert isinstance(await venue.submit(order(imitation)), NotSent)

    run(scenario)


@pytest.mark.parametrize("client", [None, ccxt.binance])
def test_every_call_is_bounded_and_nothing_leaves_after_it(client: Any) -> None:
    """A venue that does not answer costs the time-out and no more. A request that was not sent by then never is."""

    async def scenario() -> None:
        held = asyncio.Event()

        async def hold(reply: web.Response) -> web.StreamResponse:
            await held.wait()
            return reply

        config = {"timeout": 60_000} if client is not None else {}
        async with connected(client=client, timeout_s=0.5, config=config) as (venue, imitation):
            imitation.spoilt.append(hold)
            assert isinstance(await venue.submit(order(imitation)), Unknown)
            held.set()
        config = {"enableRateLimit": True, "rateLimit": 1500, "timeout": 60_000}
        async with connected(client=client, timeout_s=0.5, config=config) as (venue, imitation):
            if client is not None:
                venue._client.raw.rateLimit = 4000  # an order costs a fifth of it
            replies = [await venue.submit(order(imitation, client_order_id=f"{n}" * 32)) for n in range(3)]
            waiting = [one for one in replies if isinstance(one, NotSent)]
            assert waiting, replies
            sent = orders_at(imitation)
            assert sent <= len(replies) - len(waiting)
            if client is not None:  # its one thread comes to the end of what it was asked
                await asyncio.get_running_loop().run_in_executor(venue._client._pool, int)
            assert orders_at(imitation) == sent

    run(scenario)


class OwnTransport(ccxt.async_support.binance):
    """A user's class that sends by other means."""

    broken = False

    async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        """Send, and lose what comes back."""
        found = await super().fetch(url, method, headers, body)
        if self.broken:
            raise RuntimeError("lost")
        return found


def test_what_cannot_be_seen_may_have_left() -> None:
    """Where the user's own transport or session sends, what fails is unknown, unless there was no connection at all."""

    async def scenario() -> None:
        async with connected(client=OwnTransport) as (venue, imitation):
            venue._client.raw.broken = True
            assert isinstance(await venue.submit(order(imitation)), Unknown)
            assert orders_at(imitation) == 1
            await venue._client.raw.close()
        async with aiohttp.ClientSession() as session:
            own = {"session": session}
            async with connected(client=lambda config: ccxt.async_support.binance({**config, **own})) as (
                venue,
                imitation,
            ):
                imitation.spoilt.append(spoils.drop)
                assert isinstance(await venue.submit(order(imitation)), Unknown)
                assert orders_at(imitation) == 1
                venue.last_look = lambda: "the lease is over"
                assert isinstance(await venue.submit(order(imitation, client_order_id="cd" * 16)), NotSent)
                assert orders_at(imitation) == 1
                await imitation.close()
                venue.last_look = lambda: None
                await venue.submit(order(imitation))  # over a connection that was kept open, perhaps
                assert isinstance(await venue.submit(order(imitation)), NotSent)

    run(scenario)


def test_a_request_after_another_of_the_same_call_counts_with_it() -> None:
    """One call of the library may make several requests: if an earlier one left, the call was not unsent."""
    witness = Witness(lambda: None)
    assert witness.sent is False
    witness.begins()
    assert witness.sent is None
    witness.is_seen()
    assert witness.sent is False
    witness.leaves()
    witness.answered(200, "{}", {"Retry-After": "7"})
    assert (witness.sent, witness.status, witness.retry_after_s) == (True, 200, 7.0)
    witness.begins()
    assert witness.status is None
    witness.keep_back("the lease is over")
    assert (witness.sent, witness.kept_back) == (True, None)


def test_what_has_expired_is_not_signed() -> None:
    """An order whose expiry came while it waited is not sent at all."""

    async def scenario() -> None:
        async with connected() as (venue, imitation):
            reply = await venue.submit(order(imitation, expires_at_us=wall_clock_us() - 1))
            assert isinstance(reply, NotSent)
            assert orders_at(imitation) == 0

    run(scenario)


def test_after_close_nothing_is_sent_and_nothing_is_known() -> None:
    """A connection that was closed sends nothing; its look-ups say that they do not know."""

    async def scenario() -> None:
        async with connected() as (venue, imitation):
            await venue.close()
            await venue.close()
            assert isinstance(await venue.submit(order(imitation)), NotSent)
            assert isinstance(await venue.lookup(ID, ACCOUNT, "BTC/USDT"), Unknown)
            request = CancelRequest(client_order_id=ID, account=ACCOUNT, instrument="BTC/USDT", venue_order_id="1")
            assert isinstance(await venue.cancel(request), NotSent)
            assert orders_at(imitation) == 0

    run(scenario)


BAD = {
    "another account": ({"account": "other"}, "wrong_account"),
    "a DAY order": ({"time_in_force": TimeInForce.DAY}, "time_in_force"),
    "a price between ticks": ({"price": Decimal("100.001")}, "precision"),
    "more digits than a number of the library holds": ({"quantity": Decimal("1.00000000000000000001")}, "precision"),
    "an instrument that is not there": ({"instrument": "NO/SUCH"}, "precision"),
}


@pytest.mark.parametrize("bad", sorted(BAD))
def test_what_cannot_be_sent_exactly_is_refused_here(bad: str) -> None:
    """What the library would round, or the venue has not, is refused before anything is sent, with the reason."""
    changed, code = BAD[bad]

    async def scenario() -> None:
        async with connected() as (venue, imitation):
            reply = await venue.submit(order(imitation, **changed))
            assert isinstance(reply, Rejected), reply
            assert reply.code == code
            assert "nothing was sent" in reply.reason.lower()
            assert imitation.exchange.counts().submits == 0

    run(scenario)


@pytest.mark.parametrize("client", [None, ccxt.binance])
def test_no_reason_holds_a_key_or_a_signature(client: Any) -> None:
    """Errors of the library name whole URLs, with signatures in them: what is told and recorded has none of that."""

    async def scenario() -> None:
        async with connected(client=client) as (venue, imitation):
            imitation.spoilt.extend(SPOILS[name] for name in ("dropped", "502"))
            told = [str(await venue.submit(order(imitation, client_order_id=f"{n}" * 32))) for n in range(2)]
            request = CancelRequest(client_order_id=ID, account=ACCOUNT, instrument="BTC/USDT", venue_order_id="77")
            told.append(str(await venue.cancel(request)))
            await imitation.close()
            told.append(str(await venue.lookup(ID, ACCOUNT, "BTC/USDT")))
            with contextlib.suppress(VenueError):
                await venue.balances()
            text = " ".join(told)
            for secret in (*imitation.config().values(), "signature"):
                assert not isinstance(secret, str) or secret not in text

    run(scenario)


def test_a_twin_shares_everything_and_reads_numbers_as_text() -> None:
    """The user's object keeps its kind of numbers and its session; the twin sees the same markets and keys."""
    raw = ccxt.binance({"apiKey": "a", "secret": "b"})
    other = clients.twin(raw)
    assert isinstance(other, ccxt.binance)
    assert other.__dict__ is raw.__dict__
    assert raw.parse_number("0.1") == 0.1
    assert other.parse_number("0.10") == "0.10"
    raw.markets = {"X": {}}
    assert other.markets == {"X": {}}
    assert type(raw.session).__module__.startswith("requests")
    assert other.number_of(Decimal("0.1")) == 0.1
    with pytest.raises(InvalidField):
        other.number_of(Decimal("0.1000000000000000000001"))


def test_expiries_are_stamped_by_the_venues_clock() -> None:
    """Where the venue's clock is ahead of ours, a point in time that it judges by is moved by as much; what is left is not."""

    async def scenario() -> None:
        async with connected() as (venue, imitation):
            stamped: list[Signing] = []
            venue.manners.stamp = stamped.append  # type: ignore[method-assign]
            for ahead_ms in (0, 60_000, -60_000):
                venue._client.exchange.__dict__["_onefill_clock_difference_ms"] = ahead_ms
                expires_at_us = wall_clock_us() + 3_000_000
                await venue.submit(
                    order(imitation, client_order_id=f"{len(stamped)}" * 32, expires_at_us=expires_at_us)
                )
                assert stamped[-1].expires_at_ms == expires_at_us // 1000 + ahead_ms
                assert 0 < stamped[-1].left_ms <= 3_000

    run(scenario)


class Uneven(ccxt.async_support.kraken):
    """A client some of whose requests take longer on their way than those after them."""

    sent = 0

    async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        """Send, every third request after the others."""
        self.sent += 1
        for _ in range(300 if self.sent % 3 == 0 else 0):
            await asyncio.sleep(0)
        return await super().fetch(url, method, headers, body)


@pytest.mark.parametrize("turns", [True, False])
def test_where_nonces_rise_requests_leave_in_the_order_of_their_signatures(turns: bool) -> None:
    """Many orders at once at a venue that refuses a nonce lower than one it has seen: none is refused for that. Without
    turns, some are.
    """

    async def scenario() -> None:
        async with connected(KrakenImitation, client=Uneven) as (venue, imitation):
            if not turns:
                venue._client.exchange.__dict__["_onefill_turn"] = None
            orders = [order(imitation, client_order_id=f"{n:032x}", price=Decimal(100 + n)) for n in range(30)]
            replies = await asyncio.gather(*(venue.submit(one) for one in orders))
            kinds = {type(one) for one in replies}
            assert kinds == ({Accepted} if turns else {Accepted, TooLate}), replies
            await venue._client.raw.close()

    run(scenario)


def test_an_exchange_that_ccxt_does_not_know_is_named() -> None:
    """A wrong name is refused when the adapter is made."""
    with pytest.raises(InvalidField, match="binanse"):
        CcxtVenue("binanse", ACCOUNT)


def test_a_client_that_waits_without_end_is_refused() -> None:
    """A user's object without a time-out is not taken."""
    with pytest.raises(InvalidField, match="timeout"):
        CcxtVenue(ccxt.binance({"timeout": 0}), ACCOUNT)
