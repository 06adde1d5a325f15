"""A gateway that trades nothing and tells one subscriber: the process that the relay drill kills.

``python -m onefill.gameday.relay_process JSON`` with :class:`RelayOrder`. It writes one JSON object per line:
``{"telling":true}`` once it has the route, ``{"reached":true}`` once so many messages are told, and :class:`RelayDone` when
everything is.
"""

import asyncio
import sys
import time
from collections.abc import Coroutine, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from onefill.core.relay import Message, Outcome, Policy, Told
from onefill.core.values import Instrument
from onefill.engine.gateway import Gateway
from onefill.engine.relay import Subscriber
from onefill.engine.settings import GatewaySettings, ReconcileSettings
from onefill.ledger.sqlite import SqliteLedger
from onefill.ports.publisher import Publisher
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.venue import SimulatedVenue, wall_clock_us

ROUTE, ACCOUNT, STRATEGY = "drill", "drill", "relay"
INSTRUMENT = Instrument(symbol="ACME", price_tick=Decimal("0.01"), quantity_step=Decimal(1), min_quantity=Decimal(1))
QUIET = GatewaySettings(reconcile=ReconcileSettings(every_s=None), answer_wait_s=300)
"""The exchange is another one in every process, and has nothing to be compared with."""
_REST_S = 900.0


class RelayOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to tell of which ledger. ``target``: the stream or topic, and the subscriber's name. ``reach``: see the module."""

    ledger: str
    to: Literal["nats", "kafka"]
    address: str
    target: str
    policy: Policy
    reach: int | None = None


class RelayDone(msgspec.Struct, frozen=True, kw_only=True):
    """Everything was told: ``told`` messages, of which ``again`` were told before in this process, within ``seconds``."""

    done: bool
    told: int
    again: int
    seconds: float


class Clock:
    """The computer's clock."""

    def now_us(self) -> int:
        """Return µs since 1970."""
        return wall_clock_us()


def publisher_to(to: str, address: str, target: str) -> Publisher:
    """Return the publisher to a stream or topic."""
    if to == "kafka":
        from onefill.outbox.kafka import KafkaPublisher  # noqa: PLC0415 - the one that is not used need not be installed

        return KafkaPublisher(address, target)
    from onefill.outbox.nats import NatsPublisher  # noqa: PLC0415

    return NatsPublisher([address], target, subject=f"{target}.{{route}}.{{lane}}")


async def open_ledger(file: str) -> SqliteLedger:
    """Open a ledger file for writing."""
    return await SqliteLedger.open(file, seed=bytes(range(16)), holder="drill", at_us=wall_clock_us())


async def open_gateway(store: SqliteLedger, subscribers: Sequence[Subscriber] = ()) -> Gateway:
    """Open a gateway over a ledger and an exchange that knows nothing yet."""
    venue = SimulatedVenue(Exchange(Dialect(), [INSTRUMENT]), ACCOUNT)
    gateway = Gateway(
        store, {ROUTE: venue}, clock=Clock(), holder="drill", settings=QUIET, subscribers=list(subscribers)
    )
    await gateway.start()
    return gateway


class _Counted:
    """A publisher that says when it has told so many."""

    def __init__(self, publisher: Publisher, reach: int | None) -> None:
        self._publisher = publisher
        self._left = reach

    async def start(self) -> None:
        await self._publisher.start()

    async def publish(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        outcomes = await self._publisher.publish(messages)
        if self._left is not None:
            self._left -= sum(isinstance(outcome, Told) for outcome in outcomes)
            if self._left <= 0:
                self._left = None
                _say({"reached": True})
        return outcomes

    async def close(self) -> None:
        await self._publisher.close()


def _say(what: object) -> None:
    sys.stdout.write(msgspec.json.encode(what).decode() + "\n")
    sys.stdout.flush()


async def tell(order: RelayOrder) -> None:
    """Tell everything that is committed, and say so."""
    publisher = _Counted(publisher_to(order.to, order.address, order.target), order.reach)
    subscriber = Subscriber(name=order.target, publisher=publisher, policy=order.policy)
    gateway = await open_gateway(await open_ledger(order.ledger), [subscriber])
    try:
        _say({"telling": True})
        began = time.perf_counter()
        done = await gateway.tell_rest(_REST_S)
        (relay,) = gateway.relays()
        _say(RelayDone(done=done, told=relay.told, again=relay.again, seconds=time.perf_counter() - began))
    finally:
        await gateway.close()


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run it on the loop that a service runs on."""
    if sys.platform == "win32":
        asyncio.run(work)
        return
    import uvloop  # noqa: PLC0415 - not installed on Windows

    uvloop.run(work)


if __name__ == "__main__":
    run(tell(msgspec.json.decode(sys.argv[1], type=RelayOrder)))
