"""Bybit, Bitget and Hyperliquid over a synchronous ccxt object of the user's own: the same manners, the same expiry."""

from decimal import Decimal
from typing import Any

import ccxt
import pytest
from adapter_kit import by_another, cancel, decided, order, run

from onefill.core.messages import Accepted, CancelReply, Found, NotFound, VenueStatus
from onefill.sim.imitations.base import ACCOUNT, Imitation
from onefill.sim.imitations.bitget import BitgetImitation
from onefill.sim.imitations.bybit import BybitImitation
from onefill.sim.imitations.hyperliquid import HyperliquidImitation
from onefill.venues.ccxt.address import point
from onefill.venues.ccxt.venue import CcxtVenue

FIRST, SECOND = "0x" + "1" * 32, "0x" + "2" * 32


@pytest.mark.parametrize("kind", [BybitImitation, BitgetImitation, HyperliquidImitation])
def test_an_order_is_sent_found_and_cancelled(kind: type[Imitation]) -> None:
    """One that expires before it arrives is not taken; its fills and its end are told."""

    async def scenario() -> None:
        imitation = kind()
        symbol = next(iter(imitation.exchange.instruments))
        await imitation.start()
        options = {
            **imitation.config().get("options", {}),
            "approvedBuilderFee": True,
            "builderFee": False,
            "refSet": True,
        }
        client: Any = point(getattr(ccxt, kind.ccxt_id)({**imitation.config(), "options": options}), imitation.url)
        venue = CcxtVenue(client, ACCOUNT, streams=False, instruments=(symbol,))
        try:
            await venue.start()
            good_until_us = imitation.clock_us() + 4_000_000
            wanted = order(FIRST, quantity=2, price=40, instrument=symbol, expires_at_us=good_until_us)
            assert isinstance(await venue.submit(wanted), Accepted)
            by_another(imitation, "sell", 1, 40, instrument=symbol)
            found = await venue.lookup(FIRST, ACCOUNT, symbol)
            assert isinstance(found, Found)
            assert (found.order.cum_quantity, found.order.status) == (1, VenueStatus.PARTIALLY_FILLED)
            reports = await venue.executions(imitation.clock_us() - 60_000_000)
            assert [(one.client_order_id, one.last_quantity) for one in reports] == [(FIRST, Decimal(1))]
            told: CancelReply = await venue.cancel(cancel(FIRST, instrument=symbol))
            decided(imitation)
            found = await venue.lookup(FIRST, ACCOUNT, symbol)
            assert isinstance(found, Found), told
            assert found.order.status is VenueStatus.CANCELED
            late_us = imitation.clock_us() + 10_000_000
            imitation.clock_us = lambda: late_us
            late = order(SECOND, price=40, instrument=symbol, expires_at_us=good_until_us)
            assert not isinstance(await venue.submit(late), Accepted)
            assert imitation.exchange.counts().too_late == 1
            imitation.clock_us = lambda: good_until_us
            assert isinstance(await venue.lookup(SECOND, ACCOUNT, symbol), NotFound)
        finally:
            await venue.close()
            client.session.close()
            await imitation.close()

    run(scenario)
