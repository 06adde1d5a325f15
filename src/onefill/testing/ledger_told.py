"""What every ledger keeps for telling and being told: subscribers, callbacks, users' steps, suspicions of two holders."""

from onefill.core.errors import Fenced
from onefill.ports.ledger import (
    Committed,
    EventKnown,
    InboxEvent,
    OutboxRow,
    Stale,
    StepRecord,
    StepTaken,
    StoppedLane,
    Subscription,
    SubscriptionMove,
)
from onefill.testing.ledger_kit import ACCOUNT, ALL, OTHER_ROUTE, ROUTE, STRATEGY, Bench, accepted, ack, fact, kinds

_HOOK = InboxEvent(source="venue", event_id="e1", digest=b"d" * 32)


class ToldFacts:
    """See the module's text. Part of :class:`onefill.testing.ledger.LedgerConformance`."""

    @fact
    async def test_the_outbox_names_the_order(self, bench: Bench) -> None:
        """TOLD-ONCE: every journal entry comes out, in order, page by page, with the names of the order it belongs to."""
        owner, other = await bench.owner(), await bench.owner(OTHER_ROUTE)
        first = await owner.put(owner.record("k1"))
        await owner.commit(owner.note())
        await other.put(other.record("elsewhere"))
        second = await owner.put(owner.record("k2"))
        await owner.commit(owner.fill(first, "e1"))
        whole = await bench.ledger.outbox(ROUTE, 0, ALL)
        assert [row.entry for row in whole] == await bench.ledger.journal(ROUTE, 0, ALL)
        assert [row.key for row in whole] == [None, "k1", None, "k2", "k1"]
        named = whole[3]
        assert (named.account, named.strategy, named.client_order_id) == (ACCOUNT, STRATEGY, second.client_order_id)
        for limit in (1, 2, ALL):
            found: list[OutboxRow] = []
            while page := await bench.ledger.outbox(ROUTE, found[-1].entry.sequence if found else 0, limit):
                assert len(page) <= limit
                found += page
            assert found == whole
        assert await bench.ledger.outbox_of(ROUTE, first.intent_id, 0, ALL) == [whole[1], whole[4]]
        assert await bench.ledger.outbox_of(ROUTE, first.intent_id, 2, 1) == [whole[4]]
        assert await bench.ledger.outbox_of(ROUTE, 0, 0, ALL) == [whole[0], whole[2]]
        assert await bench.ledger.outbox("nowhere", 0, ALL) == []

    @fact
    async def test_a_subscriber_moves_only_from_where_it_stands(self, bench: Bench) -> None:
        """TOLD-ONCE: a cursor of a subscriber is kept by route and name, moves from where it stands, and outlives a crash."""
        owner, other = await bench.owner(), await bench.owner(OTHER_ROUTE)
        assert await bench.ledger.subscriptions(ROUTE) == []
        move, epoch = bench.ledger.move_subscription, owner.lease.epoch
        assert await move(ROUTE, epoch, SubscriptionMove(subscriber="a", previous=0, position=5))
        assert await move(ROUTE, epoch, SubscriptionMove(subscriber="b", previous=0, position=1))
        assert not await move(ROUTE, epoch, SubscriptionMove(subscriber="a", previous=4, position=6))
        assert not await move(ROUTE, epoch, SubscriptionMove(subscriber="c", previous=4, position=6))
        assert await move(ROUTE, epoch, SubscriptionMove(subscriber="a", previous=5, position=7))
        assert await move(OTHER_ROUTE, other.lease.epoch, SubscriptionMove(subscriber="a", previous=0, position=2))
        await bench.crash()
        assert await bench.ledger.subscriptions(ROUTE) == [
            Subscription(route=ROUTE, subscriber="a", position=7),
            Subscription(route=ROUTE, subscriber="b", position=1),
        ]
        assert [one.position for one in await bench.ledger.subscriptions(OTHER_ROUTE)] == [2]

    @fact
    async def test_a_stopped_order_is_kept_with_its_change(self, bench: Bench) -> None:
        """A subscriber's stop, its place and the change that carries them come in together, or not at all."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        lanes = (StoppedLane(order.intent_id, 2, 1), StoppedLane(0, 1, 2))
        stop = SubscriptionMove(subscriber="a", previous=0, position=3, stopped=lanes)
        entries = len(await bench.ledger.journal(ROUTE, 0, ALL))
        wrong = SubscriptionMove(subscriber="a", previous=1, position=3, stopped=lanes)
        results = await owner.commit(owner.note(subscription=wrong), owner.note(subscription=stop))
        assert kinds(results) == [Stale, Committed]
        assert len(await bench.ledger.journal(ROUTE, 0, ALL)) == entries + 1
        (held,) = await bench.ledger.subscriptions(ROUTE)
        assert (held.position, set(held.stopped)) == (3, set(lanes))
        on = SubscriptionMove(
            subscriber="a", previous=3, position=3, stopped=(StoppedLane(order.intent_id, 4, 1),), freed=(0,)
        )
        assert await bench.ledger.move_subscription(ROUTE, owner.lease.epoch, on)
        back = SubscriptionMove(subscriber="a", previous=3, position=9, stopped=(StoppedLane(order.intent_id, 3, 1),))
        assert not await bench.ledger.move_subscription(ROUTE, owner.lease.epoch, back)
        await bench.crash()
        (held,) = await bench.ledger.subscriptions(ROUTE)
        assert (held.position, held.stopped) == (3, (StoppedLane(order.intent_id, 4, 1),))

    @fact
    async def test_a_person_moves_a_subscriber_back_and_lets_an_order_go_on(self, bench: Bench) -> None:
        """TOLD-ONCE: a place may be moved back, to the very beginning too, and a stopped order be marked as going on."""
        owner = await bench.owner()
        lane = StoppedLane(7, 2, 1)
        first = SubscriptionMove(subscriber="a", previous=0, position=5, stopped=(lane,))
        again = SubscriptionMove(subscriber="a", previous=5, position=0)
        goes_on = SubscriptionMove(subscriber="a", previous=0, position=0, stopped=(StoppedLane(7, 2, 0),))
        for move in (first, again, goes_on):
            assert kinds(await owner.commit(owner.note(subscription=move))) == [Committed]
        await bench.crash()
        (held,) = await bench.ledger.subscriptions(ROUTE)
        assert (held.position, held.stopped) == (0, (StoppedLane(7, 2, 0),))
        on = SubscriptionMove(subscriber="a", previous=0, position=6, freed=(7,))
        assert await bench.ledger.move_subscription(ROUTE, owner.lease.epoch, on)
        (held,) = await bench.ledger.subscriptions(ROUTE)
        assert (held.position, held.stopped) == (6, ())

    @fact
    async def test_a_fenced_owner_moves_no_subscriber(self, bench: Bench) -> None:
        """ONE-WRITER: who lost the route moves no subscriber on either."""
        owner = await bench.owner()
        await bench.owner()
        move = SubscriptionMove(subscriber="a", previous=0, position=5)
        try:
            await bench.ledger.move_subscription(ROUTE, owner.lease.epoch, move)
        except Fenced:
            assert await bench.ledger.subscriptions(ROUTE) == []
        else:
            raise AssertionError("the fenced owner moved a subscriber")

    @fact
    async def test_a_callback_is_taken_in_once(self, bench: Bench) -> None:
        """A callback is unique in (route, source, id); a repeat leaves nothing behind and tells the first one's digest."""
        owner, other = await bench.owner(), await bench.owner(OTHER_ROUTE)
        order = await owner.put(owner.record("k"))
        assert await bench.ledger.inbox_event(ROUTE, "venue", "e1") is None
        order = await owner.put(owner.move(order, accepted(), ack(), inbox=_HOOK))
        before = await bench.all()
        later = InboxEvent(source="venue", event_id="e1", digest=b"x" * 32)
        again = owner.note(execution=owner.trade("x1"), inbox=later)
        assert await owner.commit(again) == [EventKnown("e1", b"d" * 32)]
        assert await bench.all() == before
        elsewhere = InboxEvent(source="bank", event_id="e1", digest=b"d" * 32)
        assert kinds(await owner.commit(owner.note(inbox=elsewhere))) == [Committed]
        assert kinds(await other.commit(other.note(inbox=_HOOK))) == [Committed]
        await bench.crash()
        assert await bench.ledger.inbox_event(ROUTE, "venue", "e1") == _HOOK

    @fact
    async def test_a_step_is_done_once_and_keeps_its_result(self, bench: Bench) -> None:
        """A step is begun by number and done once: whoever comes second is told how it stands, and changes nothing."""
        owner = await bench.owner()

        def step(name: str, attempt: int, result: bytes | None = None) -> StepRecord:
            done_at_us = None if result is None else 9
            return StepRecord(
                key="p",
                step=name,
                attempt=attempt,
                begun_at_us=attempt,
                result=result,
                done_at_us=done_at_us,
                arguments=f"of {name}",
            )

        assert await bench.ledger.step(ROUTE, "p", "book") is None
        begun = owner.note(step=step("book", 1))
        assert kinds(await owner.commit(begun)) == [Committed]
        assert await owner.commit(owner.note(step=step("book", 1))) == [StepTaken(step("book", 1))]
        assert kinds(await owner.commit(owner.note(step=step("book", 2)))) == [Committed]
        assert await owner.commit(owner.note(step=step("book", 1, b"{}"))) == [StepTaken(step("book", 2))]
        done = step("book", 2, '{"π": "1.10"}'.encode())
        assert kinds(await owner.commit(owner.note(step=done), owner.note(step=step("tell", 1)))) == [Committed] * 2
        assert await owner.commit(owner.note(step=step("book", 3))) == [StepTaken(done)]
        await bench.crash()
        assert await bench.ledger.step(ROUTE, "p", "book") == done
        assert await bench.ledger.steps(ROUTE, "p") == [done, step("tell", 1)]
        assert await bench.ledger.steps(ROUTE, "other") == []

    @fact
    async def test_a_suspicion_is_kept_whoever_has_it(self, bench: Bench) -> None:
        """ONE-WRITER: a word about two holders is numbered and kept, also from somebody whose epoch is over."""
        owner, other = await bench.owner(), await bench.owner(OTHER_ROUTE)
        await bench.owner()
        assert await bench.ledger.suspicions(ROUTE, 0) == []
        await bench.ledger.suspect(ROUTE, owner.lease.epoch, "node a", 5, "fenced while its lease held")
        await bench.ledger.suspect(ROUTE, owner.lease.epoch, "node a", 6, "again")
        await bench.ledger.suspect(OTHER_ROUTE, other.lease.epoch, "node b", 7, "elsewhere")
        await bench.crash()
        found = await bench.ledger.suspicions(ROUTE, 0)
        assert [(one.number, one.epoch, one.holder, one.at_us, one.reason) for one in found] == [
            (1, owner.lease.epoch, "node a", 5, "fenced while its lease held"),
            (2, owner.lease.epoch, "node a", 6, "again"),
        ]
        assert await bench.ledger.suspicions(ROUTE, 1) == found[1:]
        assert [one.number for one in await bench.ledger.suspicions(OTHER_ROUTE, 0)] == [1]
        assert {one.name: one.suspicions for one in await bench.ledger.routes()} == {ROUTE: 2, OTHER_ROUTE: 1}
