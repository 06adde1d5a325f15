"""A channel of the simulated world: what it repeats, shuffles, holds back and hides, and that it tells everything once calm."""

from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from books_kit import report, with_

from onefill.core.messages import ExecutionKind, ExecutionReport
from onefill.core.position import DROP_COPY, STREAM
from onefill.sim.history import History
from onefill.sim.world_books import Books
from onefill.sim.world_feed import OTHERS, Feed


class _World:
    """As much of a world as a channel asks for."""

    def __init__(self, count: int, *, stream: float = 0.0, books: Books | None = None, totals: bool = False) -> None:
        self.account = "A"
        self.draw = Random(7)
        self.history = History()
        self.plan = SimpleNamespace(
            seed=7,
            weather=SimpleNamespace(stream=stream),
            books=books or Books(),
            dialect=SimpleNamespace(cumulative_fills_only=totals),
        )
        self.made = [report(place, f"E{place}") for place in range(1, count + 1)]
        self.exchange = SimpleNamespace(executions=lambda _account, after, _most: self.made[after:])
        self.office = SimpleNamespace(labelled=_as_it_is)

    def at_us(self) -> int:
        """Return no time in particular."""
        return 0

    def feed(self, name: str = STREAM) -> Feed:
        """Return one of its channels."""
        return Feed(cast("Any", self), name)

    def faults(self) -> set[str]:
        """Return what went wrong."""
        return {getattr(record, "name", "") for record in self.history}


def _as_it_is(told: ExecutionReport) -> ExecutionReport:
    return told


def _ids(told: list[ExecutionReport]) -> list[str]:
    return [one.execution_id for one in told]


def _placed(told: list[ExecutionReport]) -> bool:
    return [one.position for one in told] == list(range(1, len(told) + 1))


@pytest.mark.parametrize("name", [STREAM, DROP_COPY])
def test_a_calm_channel_tells_everything_once_and_in_order(name: str) -> None:
    """Without faults a channel is the exchange's own list of executions, read from any place."""
    world = _World(20)
    feed = world.feed(name)
    assert feed.reports(0) == world.made
    assert feed.reports(15) == world.made[15:]
    assert not world.faults()


def test_a_stream_tells_some_of_it_again_under_new_places() -> None:
    """Everything comes in its order, some of it more than once, and the places go on without a gap."""
    world = _World(40, stream=0.4)
    told = world.feed().reports(0)
    assert _placed(told)
    assert list(dict.fromkeys(_ids(told))) == _ids(world.made)
    assert len(told) > len(world.made)
    assert "told again" in world.faults()


def test_what_was_told_stays_as_it_was_told() -> None:
    """A reader that comes back to a place finds there what was there."""
    world = _World(30, stream=0.4)
    feed = world.feed()
    first = list(feed.reports(0))
    world.made.append(report(31, "E31"))
    assert feed.reports(0)[: len(first)] == first
    assert "E31" in _ids(feed.reports(0))


def test_a_drop_copy_tells_executions_only() -> None:
    """Acknowledgements and cancels are the stream's; where a venue tells totals, what has one is an execution."""
    world = _World(3)
    world.made[1] = with_(world.made[1], kind=ExecutionKind.NEW)
    assert _ids(world.feed(DROP_COPY).reports(0)) == ["E1", "E3"]
    assert _ids(world.feed().reports(0)) == ["E1", "E2", "E3"]
    totals = _World(3, totals=True)
    totals.made[1] = with_(totals.made[1], kind=ExecutionKind.ORDER_STATUS)
    assert _ids(totals.feed(DROP_COPY).reports(0)) == ["E1", "E2", "E3"]


def test_a_drop_copy_shuffles_and_holds_back_until_all_is_calm() -> None:
    """It tells in another order and keeps some for later; once faults are over it tells everything that is left."""
    world = _World(30, books=Books(shuffled=0.5))
    feed = world.feed(DROP_COPY)
    told = list(feed.reports(0))
    assert len(told) < len(world.made)
    assert _ids(told) != sorted(_ids(told), key=_ids(world.made).index)
    assert {"shuffled", "held back"} <= world.faults()
    feed.calm()
    assert sorted(_ids(feed.reports(0))) == sorted(_ids(world.made))
    assert _placed(feed.reports(0))
    assert feed.reports(0)[: len(told)] == told


def test_the_stream_itself_is_never_shuffled() -> None:
    """A venue's own stream keeps its order, whatever its drop copy does."""
    world = _World(30, books=Books(shuffled=0.5))
    assert _ids(world.feed().reports(0)) == _ids(world.made)


@pytest.mark.parametrize(
    ("fault", "holds"),
    [
        ("stream ends", lambda ends, kept, skipped: ends and len(kept) <= 3 and not skipped),
        ("stream repeats", lambda ends, kept, skipped: not ends and len(kept) > 3 and not skipped),
        ("stream skips", lambda ends, kept, skipped: not ends and len(kept) == 2 and skipped == 1),
    ],
)
def test_a_connection_ends_repeats_or_skips(
    fault: str, holds: Callable[[bool, list[ExecutionReport], int], bool]
) -> None:
    """A spoiled batch ends early, begins with what was told before, or leaves out its first; the channel itself has all."""
    world = _World(20, stream=1.0)
    feed = world.feed()
    world.plan.weather.stream = 0.0
    every = list(feed.reports(0))
    for _ in range(60):
        before = len(world.history.records)
        ends, kept, skipped = feed.spoil(every[10:13])
        if getattr(world.history.records[before], "name", "") == fault:
            assert holds(ends, kept, skipped)
            break
    else:
        pytest.fail(f"never: {fault}")
    feed.calm()
    assert feed.spoil(every[10:13]) == (False, every[10:13], 0)
    assert feed.reports(0) == every


def test_a_hidden_trade_goes_out_without_its_execution() -> None:
    """Over a connection it shows the order's state only, at its own place; who asks for the page sees the execution."""
    world = _World(40, books=Books(hidden=0.5))
    feed = world.feed()
    page = feed.reports(0)
    assert page == world.made
    shown = [feed.shown(one) for one in page]
    hidden = [one for one in shown if one.kind is ExecutionKind.ORDER_STATUS]
    assert 0 < len(hidden) < len(page)
    assert all((one.execution_id, one.last_quantity, one.last_price) == ("", None, None) for one in hidden)
    assert [one.position for one in shown] == [one.position for one in page]
    assert shown == [feed.shown(one) for one in page]
    assert "hidden" in world.faults()


def test_nothing_is_hidden_of_strangers_by_the_drop_copy_or_in_calm() -> None:
    """What nobody waits for, what the second channel tells, and what is told after the faults is told as it is."""
    strangers = _World(30, books=Books(hidden=1.0))
    strangers.made = [with_(one, client_order_id=f"{OTHERS}1") for one in strangers.made]
    calm = _World(30, books=Books(hidden=1.0))
    quiet = calm.feed()
    quiet.calm()
    for feed in (strangers.feed(), _World(30, books=Books(hidden=1.0)).feed(DROP_COPY), quiet):
        assert [feed.shown(one) for one in feed.reports(0)] == feed.reports(0)
