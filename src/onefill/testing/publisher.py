"""The suite that every publisher must pass, shipped for people who write their own.

Subclass :class:`PublisherConformance`, say how a subscriber is made, and let pytest collect the subclass::

    class TestMyPublisher(PublisherConformance):
        async def subscriber(self) -> Subscriber: ...

Each test is one fact, stated in its docstring, and runs its own event loop. What the other side must be able to do says
:class:`~onefill.testing.publisher_kit.Subscriber`.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from onefill.core.relay import Invalid, Message, Outcome, Told, Unavailable
from onefill.ports.publisher import Publisher
from onefill.testing.publisher_kit import TIGHT_S, Subscriber, disorder, entry_message

__all__ = ["PublisherConformance", "Subscriber"]

_NAMES = ("a b", "a.b", "a*b>", "a%2Eb", "A/b", "Ærøskøbing", "東京 🚀", "a\tb", "a_b", "-", "x" * 200)
_LANES = 12
_PATIENT_S = 20.0
"""For an answer that comes: a busy machine is no fault of the publisher."""
_HASTY_S = 1.0
"""For one that does not."""


def fact(scenario: Callable[[Any, Subscriber], Coroutine[Any, Any, None]]) -> Callable[[Any], None]:
    """Make a test that pytest can call: make the subscriber, run the scenario, look at the order of all it took."""

    def test(self: "PublisherConformance") -> None:
        async def run() -> None:
            subscriber = await self.subscriber()
            try:
                await scenario(self, subscriber)
                assert disorder(await subscriber.taken()) == []
            finally:
                await subscriber.close()

        asyncio.run(run())

    test.__name__, test.__qualname__, test.__doc__ = scenario.__name__, scenario.__qualname__, scenario.__doc__
    return test


async def _tell(publisher: Publisher, messages: Sequence[Message]) -> Sequence[Outcome]:
    """Tell as a relay does: what is raised counts as unavailable."""
    bound = asyncio.timeout(TIGHT_S)
    try:
        async with bound:
            outcomes = await publisher.publish(messages)
    except Exception as error:  # noqa: BLE001 - whatever a publisher raises
        assert not bound.expired(), f"a call did not end within {TIGHT_S:g} s"
        return [Unavailable(reason=repr(error))] * len(messages)
    assert len(outcomes) == len(messages)
    return outcomes


async def _until_told(publisher: Publisher, messages: Sequence[Message]) -> None:
    """Tell again, for as long as it takes, what was not taken."""
    left = list(messages)
    async with asyncio.timeout(TIGHT_S):
        while left:
            outcomes = await _tell(publisher, left)
            left = [message for message, outcome in zip(left, outcomes, strict=True) if not isinstance(outcome, Told)]
            if left:
                await asyncio.sleep(0.05)


async def _started(subscriber: Subscriber, answer_s: float = _PATIENT_S) -> Publisher:
    publisher = subscriber.publisher(answer_s)
    await _start(publisher)
    return publisher


async def _start(publisher: Publisher) -> None:
    """Start as a relay does: again after a failure."""
    async with asyncio.timeout(TIGHT_S):
        while True:
            try:
                return await publisher.start()
            except Exception:  # noqa: BLE001 - whatever a publisher raises
                await asyncio.sleep(0.05)


def _round(number: int, count: int = _LANES) -> list[Message]:
    """Return the messages of one round: one of each lane."""
    return [entry_message(number * count + lane, lane, f"round {number}") for lane in range(1, count + 1)]


class PublisherConformance(ABC):
    """All facts. A subclass supplies :meth:`subscriber`."""

    @abstractmethod
    async def subscriber(self) -> Subscriber:
        """Return a new subscriber that was told nothing yet."""

    @fact
    async def test_it_arrives_as_it_is(self, subscriber: Subscriber) -> None:
        """TOLD-ONCE: what is Told is held by the subscriber, under the message's id and with the very bytes of its body."""
        publisher = await _started(subscriber)
        sent = [
            entry_message(1, 0),
            *(entry_message(9 + n, n, text) for n, text in enumerate(("", "π", "x" * 5000), 1)),
        ]
        assert [type(outcome) for outcome in await _tell(publisher, sent)] == [Told] * 4
        assert {(one.id, one.body) for one in await subscriber.taken()} == {(one.id, one.body) for one in sent}
        assert await _tell(publisher, []) == []
        await publisher.close()

    @fact
    async def test_an_order_is_told_in_order(self, subscriber: Subscriber) -> None:
        """TOLD-ONCE: with one message of a lane under way at a time, a lane arrives in order, also from two calls at once."""
        publisher = await _started(subscriber)
        sent = []
        for number in range(20):
            made = _round(number)
            halves = await asyncio.gather(_tell(publisher, made[:5]), _tell(publisher, made[5:]))
            assert {type(outcome) for half in halves for outcome in half} == {Told}
            sent += made
        taken = await subscriber.taken()
        assert len(taken) == len(sent)
        assert {one.id for one in taken} == {one.id for one in sent}
        await publisher.close()

    @fact
    async def test_a_whole_batch_goes_at_once(self, subscriber: Subscriber) -> None:
        """As many messages as a relay ever hands over at once are all taken."""
        publisher = await _started(subscriber)
        sent = _round(0, 512)
        outcomes = await asyncio.gather(_tell(publisher, sent[:256]), _tell(publisher, sent[256:]))
        assert [type(outcome) for half in outcomes for outcome in half] == [Told] * 512
        assert len(await subscriber.taken()) == 512
        await publisher.close()

    @fact
    async def test_told_again_it_is_the_same(self, subscriber: Subscriber) -> None:
        """A message told again, also by another publisher, is Told; if it is there twice, then with the same id and bytes."""
        publisher, other = await _started(subscriber), await _started(subscriber)
        sent = _round(0)
        for teller in (publisher, publisher, other):
            assert {type(outcome) for outcome in await _tell(teller, sent)} == {Told}
        assert {type(outcome) for outcome in await _tell(other, _round(1))} == {Told}
        taken = await subscriber.taken()
        assert {(one.id, one.body) for one in taken} == {(one.id, one.body) for one in sent + _round(1)}
        await publisher.close()
        await other.close()

    @fact
    async def test_names_of_any_kind(self, subscriber: Subscriber) -> None:
        """Whatever characters a route or an order's name has, it is told, and none is taken for another."""
        publisher = await _started(subscriber)
        sent = []
        for number in range(3):
            for place, name in enumerate(_NAMES):
                route = _NAMES[(place + 1) % len(_NAMES)]
                sequence = number * len(_NAMES) + place + 1
                sent.append(entry_message(sequence, place + 1, route=route, name=name))
            assert {type(outcome) for outcome in await _tell(publisher, sent[-len(_NAMES) :])} == {Told}
        assert {one.id for one in await subscriber.taken()} == {one.id for one in sent}
        await publisher.close()

    @fact
    async def test_one_that_is_not_taken_harms_no_other(self, subscriber: Subscriber) -> None:
        """Of a batch with a message that the subscriber never takes, that one is Invalid, and the others are Told."""
        publisher = await _started(subscriber)
        for number in range(2):
            sent = _round(number)
            poison = subscriber.poison(sent[3])
            outcomes = await _tell(publisher, [*sent[:3], poison, *sent[4:]])
            assert [type(outcome) for outcome in outcomes] == [Told] * 3 + [Invalid] + [Told] * (_LANES - 4)
            assert isinstance(outcomes[3], Invalid)
            assert outcomes[3].reason
            assert poison.id not in {one.id for one in await subscriber.taken()}
        assert len(await subscriber.taken()) == 2 * (_LANES - 1)
        await publisher.close()

    @fact
    async def test_out_of_reach_is_not_told(self, subscriber: Subscriber) -> None:
        """While nobody listens every call ends by itself as Unavailable, and afterwards the same publisher goes on."""
        publisher = await _started(subscriber, _HASTY_S)
        await _until_told(publisher, _round(0))
        await subscriber.go_away()
        for _ in range(2):
            assert {type(outcome) for outcome in await _tell(publisher, _round(1))} == {Unavailable}
        await subscriber.come_back()
        for number in (1, 2):
            await _until_told(publisher, _round(number))
        ids = {one.id for one in await subscriber.taken()}
        assert ids == {one.id for number in (0, 1, 2) for one in _round(number)}
        await publisher.close()

    @fact
    async def test_begun_before_anybody_listens(self, subscriber: Subscriber) -> None:
        """A publisher whose start failed is started again, or used, when the subscriber is there, and tells."""
        await subscriber.go_away()
        publisher = subscriber.publisher(_HASTY_S)
        async with asyncio.timeout(TIGHT_S):
            with contextlib.suppress(Exception):  # it may raise, or wait for the first message
                await publisher.start()
        await subscriber.come_back()
        await _start(publisher)
        await _until_told(publisher, _round(0))
        assert {one.id for one in await subscriber.taken()} == {one.id for one in _round(0)}
        await publisher.close()

    @fact
    async def test_silence_is_not_told(self, subscriber: Subscriber) -> None:
        """While the subscriber answers nothing a call ends by itself as Unavailable, and the event loop goes on meanwhile."""
        publisher = await _started(subscriber, _HASTY_S)
        await _until_told(publisher, _round(0))
        await subscriber.fall_silent()
        telling = asyncio.ensure_future(_tell(publisher, _round(1)))
        turns = 0
        while not telling.done():
            turns += 1
            await asyncio.wait({telling}, timeout=0.05)
        assert {type(outcome) for outcome in telling.result()} == {Unavailable}
        assert turns > 1
        await subscriber.come_back()
        for number in (1, 2):
            await _until_told(publisher, _round(number))
        assert {one.id for one in await subscriber.taken()} == {one.id for n in (0, 1, 2) for one in _round(n)}
        await publisher.close()

    @fact
    async def test_given_up_and_told_again(self, subscriber: Subscriber) -> None:
        """A call may be cancelled at any moment; what it was about can be told again, and order holds."""
        publisher = await _started(subscriber, _HASTY_S)
        await _until_told(publisher, _round(0))
        await subscriber.fall_silent()
        for number in range(3):
            telling = asyncio.ensure_future(publisher.publish(_round(1)))
            await asyncio.wait({telling}, timeout=0.03 * number)
            telling.cancel()
            await asyncio.wait({telling}, timeout=TIGHT_S)
            assert telling.done()
        await subscriber.come_back()
        for number in (1, 2):
            await _until_told(publisher, _round(number))
        assert {one.id for one in await subscriber.taken()} == {one.id for n in (0, 1, 2) for one in _round(n)}
        await publisher.close()

    @fact
    async def test_it_lets_go(self, subscriber: Subscriber) -> None:
        """A publisher that was never started, or whose subscriber is gone or silent, closes; closed, it tells nothing."""
        async with asyncio.timeout(TIGHT_S):
            await subscriber.publisher(_HASTY_S).close()
            running = await _started(subscriber, _HASTY_S)
            silenced = await _started(subscriber, _HASTY_S)
            await subscriber.fall_silent()
            telling = asyncio.ensure_future(_tell(silenced, _round(0)))
            await asyncio.wait({telling}, timeout=0.05)
            await silenced.close()
            assert Told not in {type(outcome) for outcome in await telling}
            await subscriber.come_back()
            await subscriber.go_away()
            await running.close()
            await subscriber.come_back()
        assert Told not in {type(outcome) for outcome in await _tell(running, _round(1))}
        assert not {one.id for one in await subscriber.taken()} & {one.id for one in _round(1)}
