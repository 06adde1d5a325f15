"""Connecting: what is asked first, and how often."""

import asyncio
import contextlib
from typing import Any

import ccxt
import ccxt.async_support
import pytest
from adapter_kit import connected, order

from onefill.core.errors import VenueError
from onefill.sim.imitations.base import ACCOUNT
from onefill.sim.imitations.binance import BinanceSpot
from onefill.sockets import OwnedSocket
from onefill.venues.ccxt.address import point
from onefill.venues.ccxt.manners import manners_of
from onefill.venues.ccxt.venue import CcxtVenue


class Reluctant(ccxt.async_support.binance):
    """A client whose first questions fail."""

    failing: BaseException | None = None
    left = 0

    async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        """Fail as often as was said, then ask."""
        if self.left:
            self.left -= 1
            assert self.failing is not None
            raise self.failing
        return await super().fetch(url, method, headers, body)


@pytest.mark.parametrize(
    ("failing", "times", "starts"),
    [
        (ccxt.RequestTimeout("slow"), 3, True),
        (ccxt.ExchangeError("torn"), 3, True),
        (ccxt.RequestTimeout("slow"), 4, False),
        (ccxt.PermissionDenied("not from here"), 1, False),
    ],
)
def test_the_start_asks_a_few_times(
    failing: Exception, times: int, starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading the markets is harmless and tried four times, unless the venue's no would be the same each time."""
    monkeypatch.setattr("onefill.venues.ccxt.venue._START_PAUSES_S", (0.0, 0.0, 0.0))

    async def scenario() -> None:
        imitation = BinanceSpot()
        await imitation.start()
        config = ccxt.Exchange.deep_extend(manners_of("binance").config, imitation.config())
        client = point(Reluctant(config), imitation.url)
        client.failing, client.left = failing, times
        venue = CcxtVenue(client, ACCOUNT, streams=False)
        with contextlib.nullcontext() if starts else pytest.raises(VenueError):
            await venue.start()
        assert bool(await venue.instruments()) is starts
        await venue.close()
        await client.close()
        await imitation.close()

    asyncio.run(scenario())


def test_every_connection_closes_only_its_own_file() -> None:
    """The first connection, over which the markets are loaded, is kept for orders: it is no plain socket either."""
    made: list[type] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        connect = loop.create_connection

        async def noted(*arguments: Any, sock: Any, **given: Any) -> Any:
            made.append(type(sock))
            return await connect(*arguments, sock=sock, **given)

        loop.create_connection = noted  # type: ignore[method-assign]
        async with connected(BinanceSpot) as (venue, _, _):
            await venue.submit(order("A1"))
            await asyncio.gather(*(venue.lookup("A1", "main", "BTC/USDT") for _ in range(3)))

    asyncio.run(main())
    assert made
    assert set(made) == {OwnedSocket}
