"""Submitting: one order and one answer, whoever asks and however often."""

import asyncio
import re

import pytest
from gateway_world import WHO, World, given_up, intent, turns, until
from scripted_venue import held, land, lose_reply, lose_request, reply
from virtual_loop import run

from onefill.core.errors import InvalidField, KeyReused, OrderUncertain, UnknownVenue
from onefill.core.identity import IdScheme
from onefill.core.lifecycle import Status
from onefill.core.messages import NotSent, Rejected, Throttled, TooLate
from onefill.engine.gateway import Gateway
from onefill.engine.settings import GatewaySettings


def test_eleven_submits_make_one_order_and_one_answer(world: World) -> None:
    """Eleven submits of a key, one after the other, make one order, and each gets the same bytes."""

    async def main() -> None:
        async with world.gateway() as gateway:
            answers = {await gateway.submit_raw(intent(), key="k") for _ in range(11)}
            assert len(answers) == 1
        assert world.venue.kinds() == ["submit"]

    run(main)


def test_eleven_concurrent_submits_make_one_order_and_one_answer(world: World) -> None:
    """Eleven submits at once, the venue slow and its reply lost, make one order, and each gets the same bytes."""
    world.venue.submits = [lose_reply]

    async def main() -> None:
        async with world.gateway() as gateway:
            answers = await asyncio.gather(*(gateway.submit_raw(intent(), key="k") for _ in range(11)))
            assert len(set(answers)) == 1
            assert gateway.counts()["X"].replayed_answers == 10
        assert len(world.venue.orders()) == 1

    run(main)


@pytest.mark.parametrize("evicted", [0, 1000])
def test_the_answer_is_the_same_after_a_restart_and_after_the_order_has_moved_on(world: World, evicted: int) -> None:
    """The stored bytes come back after fills, after the end of the order, from disk as from memory, and after restarts."""

    async def main() -> None:
        async with world.gateway(recent_orders=evicted) as gateway:
            first = await gateway.submit_raw(intent(), key="k")
            world.offer(10, 100)
            await gateway.catch_up()
            assert await gateway.submit_raw(intent(), key="k") == first
        for _ in range(2):
            async with world.gateway(recent_orders=evicted) as gateway:
                assert await gateway.submit_raw(intent(), key="k") == first
        assert world.venue.count("submit") == 1

    run(main)


FIELDS = [
    ("account", {"account": "B"}, False),
    ("strategy", {"strategy": "t"}, False),
    ("side", {"side": "sell"}, True),
    ("quantity", {"quantity": 11, "price": 101}, True),
    ("price", {"price": "100.01"}, True),
    ("order_type", {"order_type": "market", "price": None}, True),
    ("time_in_force", {"time_in_force": "day"}, True),
    ("parameters", {"parameters": {"postOnly": True}}, True),
]


@pytest.mark.parametrize("when", ["in memory", "under way", "on disk"])
@pytest.mark.parametrize(("field", "change", "refused"), FIELDS)
def test_a_key_that_comes_back_with_other_content_is_refused_by_field(
    world: World, field: str, change: dict[str, object], refused: bool, when: str
) -> None:
    """The first differing field is named, its values never; account and strategy are the key's scope and not content."""

    async def main() -> None:
        async with world.gateway(recent_orders=0) as gateway:
            first = asyncio.ensure_future(gateway.submit_raw(intent(), key="k"))
            if when == "under way":
                await turns(1)
            else:
                await first
            if when == "on disk":
                world.offer(10, 100)
                await gateway.catch_up()
            other = intent(**change)
            if not refused:
                await gateway.submit_raw(other, key="k")
                assert world.venue.count("submit") == 2
                return
            with pytest.raises(KeyReused) as caught:
                await gateway.submit_raw(other, key="k")
            assert caught.value.field == field
            assert not re.search(r"\b(10|11|100|101|100\.01|buy|sell|market|gtc|day)\b", str(caught.value))
            assert await gateway.submit_raw(intent(), key="k") == await first
            assert world.venue.count("submit") == 1

    run(main)


def test_a_misuse_under_way_does_not_stand_in_the_way_of_the_true_repeat(world: World) -> None:
    """While a misuse of an old key is on its way to the ledger, a true repeat of that key still gets its answer."""

    async def main() -> None:
        async with world.gateway(recent_orders=0) as gateway:
            first = await gateway.submit_raw(intent(), key="k")
            world.offer(10, 100)
            await gateway.catch_up()
            misuse, repeat = await asyncio.gather(
                gateway.submit_raw(intent(quantity=11), key="k"),
                gateway.submit_raw(intent(), key="k"),
                return_exceptions=True,
            )
            assert isinstance(misuse, KeyReused)
            assert repeat == first
        assert world.venue.count("submit") == 1

    run(main)


@pytest.mark.parametrize("scheme", list(IdScheme))
def test_the_ledger_holds_the_claim_at_the_moment_of_every_send(world: World, scheme: IdScheme) -> None:
    """LEDGER-FIRST: somebody else who reads the file at the moment of a send or cancel finds its claim there."""
    world.venue.submits = [lose_request, reply(NotSent("refused")), reply(Throttled("slow", 1.0)), land]

    async def main() -> None:
        async with world.gateway(client_order_ids=scheme) as gateway:
            await gateway.submit(intent(), key="k")
            await gateway.cancel("k", **WHO)

    run(main)
    sends = [call for call in world.venue.calls if call.kind == "submit"]
    assert [call.seen["copies"] for call in sends] == [
        ["claimed"],
        ["unknown", "claimed"],
        ["unknown", "not_sent", "claimed"],
        ["unknown", "not_sent", "throttled", "claimed"],
    ]
    assert [call.seen["cancels"] for call in world.venue.calls if call.kind == "cancel"] == [["claimed"]]


@pytest.mark.parametrize("scheme", list(IdScheme))
def test_every_attempt_carries_the_first_client_order_id(world: World, scheme: IdScheme) -> None:
    """SAME-ID: lost requests, refusals, throttling and restarts never make a second id."""
    world.venue.submits = [lose_request, reply(NotSent("refused")), reply(Throttled("slow", 1.0)), lose_request]

    async def main() -> None:
        gateway = await world.start(client_order_ids=scheme)
        task = asyncio.ensure_future(gateway.submit(intent(), key="k"))
        await until(lambda: world.venue.count("submit") == 4)
        task.cancel()
        await world.kill(gateway)
        async with world.gateway(client_order_ids=scheme) as gateway:
            answer = await gateway.submit(intent(), key="k")
        assert world.venue.count("submit") == 5
        assert world.venue.ids() == {answer.client_order_id}

    run(main)


def test_a_rejection_is_final_and_replayed(world: World) -> None:
    """What the venue decided against stays decided, also after a restart; a new wish needs a new key."""
    world.venue.submits = [reply(Rejected("no money", "funds"))]

    async def main() -> None:
        async with world.gateway() as gateway:
            answer = await gateway.submit(intent(), key="k")
            assert (answer.status, answer.reason, answer.accepted) == (Status.REJECTED, "no money", False)
        async with world.gateway() as gateway:
            assert await gateway.submit(intent(), key="k") == answer
            assert (await gateway.submit(intent(), key="k2")).accepted
        assert world.venue.count("submit") == 2

    run(main)


def test_a_stale_order_is_never_sent(world: World) -> None:
    """An order that could not leave within its time to live ends unsent, and no restart sends it later."""
    world.venue.submits = [reply(NotSent("refused"))] * 50

    async def main() -> None:
        async with world.gateway() as gateway:
            answer = await gateway.submit(intent(), key="k", time_to_live_s=3.0)
            assert answer.status is Status.EXPIRED_UNSENT
        sent = world.venue.count("submit")
        assert all(call.at_us < world.venue.calls[0].at_us + 3_000_000 for call in world.venue.calls)
        async with world.gateway() as gateway:
            assert await gateway.submit(intent(), key="k") == answer
        assert world.venue.count("submit") == sent
        assert not world.venue.orders()

    run(main)


def test_an_order_recorded_before_a_crash_is_not_sent_after_its_time(world: World) -> None:
    """A restart long after the time to live asks about the copy that may have left, and sends no other."""
    world.venue.submits = [lose_request]

    async def main() -> None:
        gateway = await world.start()
        task = asyncio.ensure_future(gateway.submit(intent(), key="k", time_to_live_s=5.0))
        await until(lambda: world.venue.calls)
        task.cancel()
        await world.kill(gateway)
        await asyncio.sleep(3600)
        async with world.gateway() as gateway:
            answer = await gateway.submit(intent(), key="k")
            assert answer.status is Status.EXPIRED_UNSENT
        assert world.venue.count("submit") == 1
        assert world.venue.count("lookup") > 0

    run(main)


def test_a_process_that_slept_between_claim_and_send_sends_nothing(world: World) -> None:
    """If time jumps between the claim's commit and the send, the copy does not leave."""

    async def main() -> None:
        async with world.gateway() as gateway:

            def sleep(_change: object) -> None:
                world.clock.off_us += 40_000_000

            world.ledger.spoil = sleep
            answer = await gateway.submit(intent(), key="k")
            assert answer.status is Status.EXPIRED_UNSENT
        assert not world.venue.count("submit")

    run(main)


def test_no_order_is_sent_late_because_the_clock_went_back(make_world) -> None:
    """A clock set back by an hour does not let an order leave long after its time to live."""
    world = make_world()
    world.venue.submits = [reply(NotSent("refused"))] * 5000

    async def main() -> None:
        async with world.gateway() as gateway:
            task = asyncio.ensure_future(gateway.submit(intent(), key="k", time_to_live_s=3.0, wait_s=5000))
            await until(lambda: world.venue.calls)
            world.clock.off_us -= 3_600_000_000
            began = asyncio.get_running_loop().time()
            answer = await task
            assert answer.status is Status.EXPIRED_UNSENT
            assert asyncio.get_running_loop().time() - began < 10
        assert world.venue.count("submit") < 20

    run(main)


def test_a_caller_who_gives_up_at_any_moment_changes_nothing(make_world) -> None:
    """However early or late a caller's own time-out comes, the order goes on, and the next submit gets the answer."""
    for moment in range(12):
        world = make_world()
        world.venue.submits = [lose_reply]

        async def main(moment: int = moment, world: World = world) -> None:
            async with world.gateway() as gateway:
                await given_up(gateway.submit_raw(intent(), key="k"), moment)
                answer = await gateway.submit(intent(), key="k")
                assert answer.status is Status.NEW
            assert len(world.venue.orders()) == 1

        run(main)


def test_uncertain_after_the_wait_and_answered_by_the_next_submit(world: World) -> None:
    """After ``wait_s`` the caller is told UNCERTAIN, naming key and id; a submit with the same key gets the answer later."""
    gate = asyncio.Event()
    world.venue.submits = [held(gate)]

    async def main() -> None:
        async with world.gateway() as gateway:
            for _ in range(3):
                with pytest.raises(OrderUncertain) as caught:
                    await gateway.submit(intent(), key="k", wait_s=0.2)
                assert caught.value.key == "k"
            (entry,) = gateway._routes["X"].entries.values()
            assert not entry.answer_waiters  # those who gave up are forgotten
            gate.set()
            answer = await gateway.submit(intent(), key="k")
            assert answer.client_order_id == caught.value.client_order_id
            assert answer.status is Status.NEW
        assert world.venue.count("submit") == 1

    run(main)


@pytest.mark.parametrize("wait_s", [float("inf"), float("nan"), -1.0])
def test_a_wait_that_is_no_duration_is_refused_before_anything_is_recorded(world: World, wait_s: float) -> None:
    """Nothing is half-done for a bad ``wait_s``: no record, no send."""

    async def main() -> None:
        async with world.gateway() as gateway:
            with pytest.raises(InvalidField, match="wait_s"):
                await gateway.submit(intent(), key="k", wait_s=wait_s)
            with pytest.raises(InvalidField, match="wait_s"):
                await gateway.cancel("k", **WHO, wait_s=wait_s)
        assert not world.rows("SELECT 1 FROM intent")

    run(main)


def test_bad_requests_leave_nothing_behind(world: World) -> None:
    """Unknown instrument or venue, off-grid numbers and bad times to live are refused and recorded nowhere."""

    async def main() -> None:
        async with world.gateway() as gateway:
            for wrong, field in [
                (intent(instrument="NONE"), "instrument"),
                (intent(price="100.001"), "price"),
                (intent(quantity="1.5"), "quantity"),
            ]:
                with pytest.raises(InvalidField) as caught:
                    await gateway.submit(wrong, key="k")
                assert caught.value.field == field
            with pytest.raises(UnknownVenue):
                await gateway.submit(intent(venue="Y"), key="k")
            with pytest.raises(InvalidField):
                await gateway.submit(intent(), key="k", time_to_live_s=0)
            with pytest.raises(InvalidField):
                await gateway.submit(intent(), key=" k")
            assert not gateway._routes["X"].entries
        assert not world.rows("SELECT 1 FROM intent")
        assert not world.venue.calls

    run(main)


@pytest.mark.parametrize("change", ["delisted", "coarser"])
def test_a_known_key_keeps_its_answer_when_the_instrument_changes(world: World, change: str) -> None:
    """An instrument that is delisted, or traded in other steps, does not turn a repeat into an error."""

    async def main() -> None:
        async with world.gateway() as gateway:
            first = await gateway.submit_raw(intent(), key="k")
            world.offer(10, 100)
            await gateway.catch_up()
        listed = world.venue.instruments_listed
        if change == "delisted":
            listed.clear()
        else:
            listed["ACME"] = type(listed["ACME"])(symbol="ACME", price_tick=7, quantity_step=7, min_quantity=7)
        async with world.gateway() as gateway:
            assert await gateway.submit_raw(intent(), key="k") == first
            with pytest.raises(KeyReused):
                await gateway.submit_raw(intent(quantity=11), key="k")
            with pytest.raises(InvalidField):
                await gateway.submit_raw(intent(), key="new")

    run(main)


def test_orders_over_two_routes_keep_to_their_own(make_world) -> None:
    """Two venues behind one gateway: each order goes to its own, and a key used at one cannot be used at the other."""
    world, other = make_world(), make_world()
    other.venue.now_us = world.clock.now_us

    async def main() -> None:
        store = await world.store()
        venues = {"X": world.venue, "Y": other.venue}
        gateway = Gateway(store, venues, clock=world.clock, holder="test", settings=GatewaySettings(recent_orders=0))
        async with gateway:
            await gateway.submit(intent(venue="X"), key="k")
            await gateway.submit(intent(venue="Y"), key="l")
            with pytest.raises(KeyReused) as caught:
                await gateway.submit(intent(venue="Y"), key="k")
            assert caught.value.field == "venue"
            with pytest.raises(UnknownVenue):
                await gateway.submit(intent(), key="m")
            await gateway.cancel("k", **WHO)
            with pytest.raises(KeyReused):
                await gateway.submit(intent(venue="Y"), key="k")
        assert [len(world.venue.orders()), len(other.venue.orders())] == [1, 1]
        assert [world.venue.count("cancel"), other.venue.count("cancel")] == [1, 0]

    other.venue.look = lambda _: None
    run(main)


def test_memory_holds_open_orders_and_a_bounded_number_of_closed_ones(world: World) -> None:
    """After many orders have closed, only ``recent_orders`` of them are in memory, and no timer or task is left of them."""

    async def main() -> None:
        async with world.gateway(recent_orders=5) as gateway:
            for n in range(50):
                await gateway.submit(intent(), key=f"k{n}", wait_s=1e8)
                await gateway.cancel(f"k{n}", **WHO, wait_s=1e8)
            await turns()
            route = gateway._routes["X"]
            assert len(route.entries) == len(route.by_client_order_id) == len(route._recent) == 5
            await asyncio.sleep(60)
            assert not route.deadlines._timers
            assert not route.deadlines._ticks

    run(main)


def test_requests_that_are_too_late_are_sent_anew_under_the_same_id(world: World) -> None:
    """A copy refused as expired is no rejection of the order."""
    world.venue.submits = [reply(TooLate("expired"))]

    async def main() -> None:
        async with world.gateway() as gateway:
            assert (await gateway.submit(intent(), key="k")).status is Status.NEW
        assert world.venue.count("submit") == 2
        assert len(world.venue.ids()) == 1

    run(main)
