"""The awkward cases of replacing an order, one test named for each: the steps taken, and the end.

As :mod:`test_awkward_cases`, where venues keep the order's id and where a replace gives it another.
"""

from decimal import Decimal

import msgspec
import pytest
from core_driver import Driven
from core_kit import shown, trade
from core_tables import venue_of
from core_venue import Small, there

from onefill.core import messages as msg
from onefill.core.answers import ReplaceAnswer, ReplaceResult, replace_answer
from onefill.core.lifecycle import Status
from onefill.core.messages import VenueStatus
from onefill.core.order import Order

STYLES = ["keep", "new"]


def told_of_replace(order: Order, *, done: bool) -> ReplaceAnswer:
    """Return what whoever wanted it replaced is told."""
    return msgspec.json.decode(replace_answer(order, 0, done=done, changed=True), type=ReplaceAnswer)


@pytest.mark.parametrize("style", STYLES)
def test_a_replace_while_the_ack_is_unknown_waits(style: str) -> None:
    """First the order is looked for and adopted, then it is replaced."""
    small = Small(f"ever lookup {style}", "reply lost", "ok")
    small.driven.want_replace(5)
    small.follow()
    assert small.steps == ["ask", "adopt", "replace 1"]
    assert (small.order.status, small.order.quantity, small.made) == (Status.NEW, 5, 1)


@pytest.mark.parametrize("style", STYLES)
def test_a_replace_of_an_order_that_the_venue_has_not_accepted_waits(style: str) -> None:
    """Taken in is not accepted: there is nothing yet that could be replaced."""
    small = Small(f"ever lookup {style}", "pending", "ok")
    small.driven.want_replace(5)
    small.follow(until_s=1)
    assert set(small.steps) == {"ask", "adopt"}
    small.accept()
    small.hear()
    small.follow()
    assert small.steps[-1] == "replace 1"
    assert small.order.quantity == 5


def test_a_replace_of_an_order_that_never_got_there_ends_with_it() -> None:
    """The order is proven absent and its time is over: nothing was replaced, and whoever asked is told."""
    small = Small("open lookup T5", "lost")
    small.driven.want_replace(5, live_s=100)
    small.driven.order = msgspec.structs.replace(small.driven.order, valid_until_us=small.driven.now_us + 1)
    small.follow()
    assert small.steps == ["ask", "absent", "expire"]
    assert (small.order.status, small.order.replacement) == (Status.EXPIRED_UNSENT, None)
    assert told_of_replace(small.order, done=False).result is ReplaceResult.NEVER_SENT


@pytest.mark.parametrize("style", STYLES)
def test_a_replace_that_crosses_a_fill_below_its_quantity_leaves_the_rest(style: str) -> None:
    """6 of 10 filled, to become 8: 2 are left, under the terms that were wanted."""
    small = there(f"ever lookup {style}")
    small.driven.want_replace(8)
    small.fill(6)
    small.follow()
    small.hear()
    assert small.steps == ["replace 1"]
    assert (small.order.status, small.order.quantity) == (Status.PARTIALLY_FILLED, 8)
    assert (small.order.cum_quantity, small.order.leaves_quantity, small.order.anomaly) == (6, 2, None)


@pytest.mark.parametrize("style", STYLES)
def test_a_replace_that_crosses_a_fill_of_its_quantity_fills_the_order(style: str) -> None:
    """6 of 10 filled, to become 6: that is filled."""
    small = there(f"ever lookup {style}")
    small.driven.want_replace(6)
    small.fill(6)
    small.follow()
    small.hear()
    assert (small.order.status, small.order.quantity, small.order.closed) == (Status.FILLED, 6, True)
    assert told_of_replace(small.order, done=True).result is ReplaceResult.REPLACED


@pytest.mark.parametrize("style", STYLES)
def test_a_replace_that_crosses_a_fill_above_its_quantity_is_refused_or_settles_for_it(style: str) -> None:
    """7 of 10 filled, to become 5: some venues refuse, and it goes on as it was; some make it 7, which is filled."""
    refusing = there(f"ever lookup {style}")
    refusing.driven.want_replace(5)
    refusing.fill(7)
    refusing.follow()
    refusing.hear()
    assert refusing.steps == ["replace 1", "ask", "adopt", "drop"]
    assert (refusing.order.status, refusing.order.quantity, refusing.order.cum_quantity) == (
        Status.PARTIALLY_FILLED,
        10,
        7,
    )
    assert told_of_replace(refusing.order, done=False).result is ReplaceResult.REFUSED
    settling = there(f"ever lookup {style}")
    settling.sets_quantity = True
    settling.driven.want_replace(5)
    settling.fill(7)
    settling.follow()
    settling.hear()
    assert settling.steps == ["replace 1"]
    assert (settling.order.status, settling.order.quantity, settling.order.anomaly) == (Status.FILLED, 7, None)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("quantity", [5, 15])
def test_a_replace_that_crosses_the_last_fill_is_told_of_the_fill(style: str, quantity: int) -> None:
    """All 10 filled first: the replace came too late, whatever it wanted, and the executions end it."""
    small = there(f"ever lookup {style}")
    small.driven.want_replace(quantity, "26")
    small.fill(10)
    small.follow()
    small.hear()
    assert small.steps[:3] == ["replace 1", "ask", "adopt"]
    assert (small.order.status, small.order.quantity, small.order.closed) == (Status.FILLED, 10, True)
    assert told_of_replace(small.order, done=False).result is ReplaceResult.FILLED


@pytest.mark.parametrize("style", STYLES)
def test_a_replace_chain_keeps_its_lineage(style: str) -> None:
    """10 to 8 to 6 to 12: one order, each link naming the one before; executions of all links are the one order's."""
    small = there(f"ever lookup {style}")
    for number, quantity in enumerate((8, 6, 12), 1):
        small.driven.want_replace(quantity)
        small.follow()
        small.fill(1)
        small.hear()
        assert (small.order.quantity, small.order.cum_quantity) == (quantity, number)
        assert small.order.live_id == (f"C1R{number}" if style == "new" else "C1")
    assert small.steps == ["replace 1", "replace 2", "replace 3"]
    assert (small.order.client_order_id, small.order.replacements, small.made) == ("C1", 3, 1)
    assert [one.status for one in small.orders[:-1]] == [VenueStatus.REPLACED] * (3 if style == "new" else 0)
    small.driven.want_cancel()
    small.follow()
    assert (small.order.status, small.live) == (Status.CANCELED, [])


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("lookup", ["lookup", "scan"])
def test_a_replace_whose_reply_is_lost_is_found(style: str, lookup: str) -> None:
    """It was done: the venue shows the wanted terms, under the same id or the new one, and that is taken in."""
    small = there(f"open {lookup} T5 {style}", "reply lost")
    small.driven.want_replace(5, "26")
    small.follow()
    verb = "ask" if lookup == "lookup" else "scan"
    asks = verb if style == "keep" else f"{verb} C1R1"
    assert small.steps == ["replace 1", asks, "adopt"]
    assert (small.order.quantity, small.order.price, len(small.live)) == (5, Decimal(26), 1)


@pytest.mark.parametrize("style", STYLES)
def test_a_replace_that_was_lost_with_its_reply_is_sent_again(style: str) -> None:
    """It was not done: the order is seen as it was, and the same replace is sent again, with the ids of the first copy."""
    small = there(f"open lookup T5 {style}", "lost", "ok")
    small.driven.want_replace(5)
    small.follow()
    assert small.steps[0] == "replace 1"
    assert small.steps[-1] == "replace 2"
    assert (small.order.quantity, len(small.live), small.made) == (5, 1, 1)
    assert small.order.live_id == ("C1" if style == "keep" else "C1R1")


@pytest.mark.parametrize("style", STYLES)
def test_a_replace_that_arrives_after_its_repeat_does_nothing_more(style: str) -> None:
    """The ghost of a replace finds the wanted terms there, or its original gone: still one order, with those terms."""
    small = there(f"open lookup T5 {style}", "late 3", "ok")
    small.driven.want_replace(5)
    small.follow()
    small.pass_time(10)
    small.hear()
    small.follow()
    assert (small.order.quantity, small.order.status, len(small.live)) == (5, Status.NEW, 1)
    assert [one.quantity for one in small.live] == [5]


@pytest.mark.parametrize("style", STYLES)
def test_a_replace_that_is_lost_until_its_time_is_over_was_not_done(style: str) -> None:
    """Nothing of it came through and nothing can any more: the order goes on as it was, and whoever asked is told."""
    small = there(f"open lookup T5 {style}", "lost")
    small.driven.want_replace(5, live_s=3)
    small.follow()
    assert small.steps[-1] == "not replaced"
    assert (small.order.status, small.order.quantity, small.order.replacement) == (Status.NEW, 10, None)
    assert told_of_replace(small.order, done=False).result is ReplaceResult.REFUSED


def test_a_second_replace_waits_for_the_ghost_of_the_first_where_the_id_stays() -> None:
    """A late copy of the first would undo the second: it is sent only when every earlier copy is dead."""
    small = there("open lookup T5 keep", "late 6", "ok")
    small.driven.want_replace(5)
    small.follow()  # the repeat did it; the first copy is still on its way
    assert (small.order.quantity, len(small.order.strays)) == (5, 1)
    small.driven.want_replace(7)
    small.follow()
    assert (small.order.quantity, [one.quantity for one in small.live]) == (7, [7])
    assert small.under_way == []


@pytest.mark.parametrize("style", STYLES)
def test_a_cancel_crosses_a_replace_whose_reply_is_lost(style: str) -> None:
    """Whichever of the two orders is there is found and cancelled; nothing is left live."""
    for fate in ("reply lost", "lost"):
        small = there(f"open lookup T5 {style}", fate, "ok")
        small.driven.want_replace(5)
        small.follow(stop="ask")
        small.driven.want_cancel()
        small.follow()
        small.hear()
        small.follow()
        assert (small.order.status, small.live) == (Status.CANCELED, [])


@pytest.mark.parametrize("style", STYLES)
def test_a_throttled_replace_is_sent_again_after_the_pause_while_there_is_time(style: str) -> None:
    """After the pause the same replace goes out; if its time is over by then, the order stays as it is."""
    small = there(f"open lookup {style}", "throttled 7", "ok")
    small.driven.want_replace(5)
    began_us = small.driven.now_us
    small.follow()
    assert small.steps == ["replace 1", "replace 2"]
    assert small.driven.now_us >= began_us + 7_000_000
    assert small.order.quantity == 5
    late = there(f"open lookup {style}", "throttled 7", "ok")
    late.driven.want_replace(5, live_s=2)
    late.follow()
    assert late.steps[-1] == "drop"
    assert (late.order.quantity, late.order.replacement) == (10, None)


@pytest.mark.parametrize("seconds", [-3600, 20])
@pytest.mark.parametrize("style", STYLES)
def test_a_clock_that_jumps_leaves_a_replace_safe(style: str, seconds: int) -> None:
    """The ghost of a replace is on its way while the clock is set: there is one order, and we know its terms."""
    small = there(f"open lookup T5 {style}", "late 6", "lost")
    small.driven.want_replace(5, live_s=3)
    small.follow(until_s=1)
    small.driven.set_clock(seconds)
    small.follow(until_s=30)
    small.hear()
    assert [one.quantity for one in small.live] == [small.order.quantity] == [5]
    assert small.order.replacement is None


def test_executions_of_every_link_count_once_whatever_crossed() -> None:
    """Fills before, while and after a replace, told by either id, are one order's executions."""
    driven = Driven(venue_of("ever lookup new"))
    driven.reply(msg.Accepted(shown()))
    driven.report(trade(1, 1))
    driven.want_replace(8)
    driven.perform(driven.next())
    driven.report(trade(2, 3))
    driven.report(trade(1, 4, client_order_id="C1R1", venue_order_id="V2"))
    driven.replace_reply(msg.Replaced(shown(client_order_id="C1R1", venue_order_id="V2", quantity=Decimal(8))))
    driven.report(trade(4, 8, client_order_id="C1R1", venue_order_id="V2"))
    assert (driven.status, driven.order.cum_quantity, driven.order.anomaly) == (Status.FILLED, 8, None)
