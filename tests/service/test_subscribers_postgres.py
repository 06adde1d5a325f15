"""Subscribers on real PostgreSQL: two nodes share a route, an order is stopped and goes on, and everything is told."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import onefill
from onefill.core.relay import TOLD, Invalid, Outcome, Policy
from onefill.ledger import postgres_schema
from onefill.ledger.postgres_settings import place_of
from onefill.service.wiring import open_for_reading
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.exchange_server import ExchangeServer

BTC = onefill.Instrument(symbol="BTC", price_tick=1, quantity_step=1, min_quantity=1)  # type: ignore[arg-type]


class Desk:
    """Takes everything but the later events of the orders that it refuses."""

    def __init__(self) -> None:
        self.taken: list[onefill.Message] = []
        self.refused: set[str] = set()

    async def start(self) -> None:
        """Nothing is to be made ready."""

    async def publish(self, messages: Sequence[onefill.Message]) -> list[Outcome]:
        """Take them."""
        outcomes: list[Outcome] = [
            Invalid("no") if one.key in self.refused and one.kind != "recorded" else TOLD for one in messages
        ]
        self.taken += [one for one, outcome in zip(messages, outcomes, strict=True) if outcome is TOLD]
        return outcomes

    async def close(self) -> None:
        """Nothing is held."""


def test_two_nodes_tell_one_subscriber_of_everything(postgres_url: str) -> None:
    """TOLD-ONCE on PostgreSQL: over hand-overs both ways, a stopped order and a rewind, every entry is told, in order per
    order, with one id; an iterator of its own goes on where it stopped.
    """

    async def main() -> None:
        await postgres_schema.migrate(place_of(postgres_url), seed=bytes(16), at_us=time.time_ns() // 1000)
        server = ExchangeServer(Exchange(Dialect(), [BTC]))
        url = f"http://127.0.0.1:{await server.start()}"
        desk = Desk()

        def opened(name: str) -> Any:
            policy = Policy(pause_s=0.01, longest_pause_s=0.05, cursor_every_s=0.01, invalid_tries=2)
            return onefill.open(
                postgres_url,
                venues={"sim": onefill.ExchangeVenue(url, "A")},
                settings=onefill.GatewaySettings(lease_s=5),
                node=onefill.NodeSettings(name=name),
                subscribers=[onefill.Subscriber(name="desk", publisher=desk, policy=policy)],
            )

        said = {"by": "ann", "reason": "r"}
        async with opened("a") as a, opened("b") as b:
            desk.refused = {"k1"}
            for number, here, there in ((0, a, b), (1, b, a), (2, a, b), (3, b, a)):
                await here.submit(_order(), key=f"k{number}")
                await _until(lambda here=here: here.tell_rest(0.5))
                if number == 1:
                    (status,) = await here.subscribers()
                    assert [one.key for one in status.stopped] == ["k1"]
                    async with here.events(subscriber="book", kinds=("recorded",)) as events:
                        assert [(await anext(events)).key for _ in range(2)] == ["k0", "k1"]
                if number < 3:
                    await here.hand_over("sim")
                    await _until(lambda there=there: _holds(there))
            desk.refused = set()
            await b.resume_subscriber("desk", "k1", **said)
            await _until(lambda: _caught_up(b))
            before = len(desk.taken)
            await b.rewind_subscriber("desk", 2, **said)
            await _until(lambda: _caught_up(b))
            assert {one.sequence for one in desk.taken[before:]} > {3, 4, 5}
            async with b.events(subscriber="book", kinds=("recorded",)) as events:
                assert [(await anext(events)).key for _ in range(3)] == ["k1", "k2", "k3"]
        async with open_for_reading(postgres_url) as ledger:
            whole = await ledger.journal("sim", 0, 10_000)
        ids = {entry.sequence: entry.hash.hex()[:32] for entry in whole}
        told = {one.sequence: one.id for one in desk.taken}
        assert told == {sequence: made for sequence, made in ids.items() if sequence <= max(told)}
        assert all(ids[one.sequence] == one.id for one in desk.taken)
        for lane in {one.lane for one in desk.taken}:
            first = list(dict.fromkeys(one.sequence for one in desk.taken if one.lane == lane))
            assert first == sorted(first)
        await server.close()

    asyncio.run(main())


def _order() -> onefill.Intent:
    return onefill.Intent(
        account="A", strategy="s", instrument="BTC", side=onefill.Side.BUY, quantity=1, price=10, time_in_force="gtc"
    )


async def _holds(gateway: Any) -> bool:
    return bool(gateway.relays())


async def _caught_up(gateway: Any) -> bool:
    (status,) = [one for one in await gateway.subscribers() if one.subscriber == "desk"]
    return not status.stopped and status.lag == 0


async def _until(what: Any) -> None:
    async with asyncio.timeout(30):
        while not await what():  # noqa: ASYNC110 - another node's doing has no event to wait for
            await asyncio.sleep(0.02)
