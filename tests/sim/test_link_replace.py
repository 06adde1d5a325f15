"""Replaces through the faulty link: it needs no knowledge of them to hurt them, and one order comes of it."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from onefill.core.capabilities import ReplaceStyle
from onefill.core.messages import Replaced, ReplaceRejected, ReplaceRequest, SubmitRequest, Unknown
from onefill.core.values import Instrument, OrderType, Side, TimeInForce
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.exchange_server import ExchangeServer
from onefill.sim.link import FaultyLink
from onefill.sim.link_plan import CALM, Fault, FaultKind, LinkPlan, LinkSettings
from onefill.sim.order_book import chains
from onefill.venues import exchange_wire as wire
from onefill.venues.exchange_client import ExchangeVenue

ACME = Instrument(symbol="ACME", price_tick=Decimal(1), quantity_step=Decimal(1), min_quantity=Decimal(1))
FIELDS: dict[str, Any] = {
    "account": "A",
    "instrument": "ACME",
    "side": Side.BUY,
    "order_type": OrderType.LIMIT,
    "price": Decimal(10),
    "time_in_force": TimeInForce.GTC,
    "expires_at_us": None,
}


class HurtReplaces(LinkPlan):
    """A plan that leaves everything but replaces alone, so that the adapter can start."""

    def for_request(self, method: bytes, target: bytes, body: bytes, *, upgrade: bool = False) -> Fault:
        """Decide the fault of the next request."""
        return super().for_request(method, target, body) if target == wire.REPLACE.encode() else CALM


@pytest.mark.parametrize("style", [ReplaceStyle.KEEP, ReplaceStyle.NEW_ID])
@pytest.mark.parametrize("kind", [FaultKind.DUPLICATE, FaultKind.CUT_AFTER_REQUEST, FaultKind.CUT_BEFORE_REQUEST])
def test_a_hurt_replace_leaves_one_order(style: ReplaceStyle, kind: FaultKind) -> None:
    """Doubled, answered in vain or lost: the reply never claims what is not so, and one order is live as last taken."""

    async def scenario() -> None:
        exchange = Exchange(Dialect(replace=style), [ACME])
        exchange.submit(SubmitRequest(client_order_id="x", quantity=Decimal(1), **FIELDS), 0)
        server = ExchangeServer(exchange)
        link = FaultyLink("127.0.0.1", await server.start(), LinkSettings())
        link.plan = HurtReplaces(LinkSettings(**{kind.value: Decimal(1)}))  # type: ignore[arg-type]
        venue = ExchangeVenue(f"http://127.0.0.1:{await link.start()}", "A", 5.0)
        new = "x" if style is ReplaceStyle.KEEP else "y"
        request = ReplaceRequest(
            client_order_id=new, orig_client_order_id="x", venue_order_id=None, quantity=Decimal(2), **FIELDS
        )
        try:
            await venue.start()
            reply = await venue.replace(request)
        finally:
            await venue.close()
            await link.close()
            await server.close()
        (chain,) = chains(exchange.all_orders())
        (live,) = exchange.open_orders("A")
        assert live.venue_order_id == chain[-1].venue_order_id
        if kind is FaultKind.DUPLICATE:
            assert isinstance(reply, Replaced | ReplaceRejected)
            assert exchange.counts().replaces == 2
        else:
            assert isinstance(reply, Unknown)
        assert (live.client_order_id, live.quantity) == (("x", 1) if kind is FaultKind.CUT_BEFORE_REQUEST else (new, 2))

    asyncio.run(asyncio.wait_for(scenario(), 20))
