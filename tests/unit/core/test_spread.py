"""Which node asks for which route, and when: the rule of a fair spread."""

import pytest
from core_kit import SEEDED
from hypothesis import given
from hypothesis import strategies as st

from onefill.core import lease as leases
from onefill.core import spread
from onefill.core.spread import (
    MOST_HELD_BACK_S,
    STEP_S,
    Elsewhere,
    HandOverAsked,
    Wishes,
    asks_at_once,
    expected,
    fair_share,
    gives_way,
    held_back_s,
    in_turn,
    pause_s,
    to_ask_for,
)

NAMES = st.text("abcxyz0189-", min_size=1, max_size=8)


@SEEDED
@given(node=NAMES, mine=st.integers(0, 2000), share=st.integers(1, 1000))
def test_nobody_leaves_a_free_route_to_others_for_long(node: str, mine: int, share: int) -> None:
    """A lease, a look and the longest time held back are less than a lease and a second, also with all clocks awry."""
    back_s = held_back_s("X", Wishes(node), mine, share)
    assert back_s is not None
    assert 0 <= back_s <= MOST_HELD_BACK_S + STEP_S
    assert spread.LOOK_EVERY_S + back_s < 0.7


@SEEDED
@given(a=NAMES, b=NAMES, fewer=st.integers(0, 5))
def test_who_holds_fewer_asks_first(a: str, b: str, fewer: int) -> None:
    """Whoever the nodes are: one that holds a route less than another, and less than its share, asks before it."""
    share = 6
    first, second = (held_back_s("X", Wishes(node), mine, share) for node, mine in ((a, fewer), (b, fewer + 1)))
    assert first is not None
    assert second is not None
    assert first <= second


def test_a_route_that_is_meant_for_a_node_is_asked_for_at_once_and_first() -> None:
    """``prefer`` passes every other rule but the most that a node may hold."""
    wishes = Wishes("a", frozenset({"X"}))
    assert held_back_s("X", wishes, 50, 1) == 0
    assert in_turn(["W", "V", "X"], wishes)[0] == "X"
    assert held_back_s("X", Wishes("a", frozenset({"X"}), most=50), 50, 1) is None


@pytest.mark.parametrize(("mine", "asks"), [(0, True), (1, True), (2, False), (3, False)])
def test_a_node_that_has_its_most_asks_for_nothing(mine: int, asks: bool) -> None:
    """``max_routes`` holds whatever comes free."""
    assert (held_back_s("X", Wishes("a", most=2), mine, 9) is not None) is asks


def test_nodes_ask_for_routes_in_another_order_each() -> None:
    """So that two nodes that start together do not race for the same one: all orders are whole, and they differ."""
    routes = [f"R{number}" for number in range(10)]
    orders = {node: in_turn(routes, Wishes(node)) for node in ("a", "b", "c")}
    assert all(sorted(order) == sorted(routes) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 3
    assert orders["a"] == in_turn(reversed(routes), Wishes("a"))


@pytest.mark.parametrize(
    ("routes", "nodes", "share"), [(4, 2, 2), (5, 2, 3), (3, 3, 1), (1, 3, 1), (1000, 3, 334), (4, 0, 4)]
)
def test_a_fair_share_is_rounded_up(routes: int, nodes: int, share: int) -> None:
    """So that the shares of all nodes cover all routes."""
    assert fair_share(routes, nodes) == share
    assert share * max(nodes, 1) >= routes


@pytest.mark.parametrize(
    ("asked", "wishes", "gives"),
    [
        (HandOverAsked(by="ann"), Wishes("a"), True),
        (HandOverAsked(by="ann", to="b"), Wishes("a"), True),
        (HandOverAsked(by="ann", to="a"), Wishes("a"), False),
        (HandOverAsked(by="ann", to="b"), Wishes("a", frozenset({"X"})), True),
        (HandOverAsked(by="b", to="b"), Wishes("a"), True),
        (HandOverAsked(by="b", to="b"), Wishes("a", frozenset({"X"})), False),
    ],
)
def test_a_holder_gives_way_to_people_and_to_nodes_unless_the_route_is_its_own(
    asked: HandOverAsked, wishes: Wishes, gives: bool
) -> None:
    """So two nodes that both prefer a route do not take it from each other for ever."""
    assert gives_way("X", wishes, asked) is gives


def test_a_route_that_was_handed_over_to_a_node_is_asked_for_by_that_one_first() -> None:
    """The others come after it, also those that prefer the route, and nobody waits for ever should it not come."""
    asked = HandOverAsked(by="ann", to="b")
    assert held_back_s("X", Wishes("b"), 50, 1, asked) == 0
    for other in (Wishes("a"), Wishes("c", frozenset({"X"}))):
        back_s = held_back_s("X", other, 0, 9, asked)
        assert back_s is not None
        assert MOST_HELD_BACK_S <= back_s <= MOST_HELD_BACK_S + STEP_S
    assert held_back_s("X", Wishes("b", most=1), 1, 9, asked) is None


@pytest.mark.parametrize(("to", "is_expected"), [("a", True), (None, True), ("b", False)])
def test_a_node_looks_more_often_while_a_route_is_on_its_way_to_it(to: str | None, is_expected: bool) -> None:
    """Which is so for a wish that names it, or nobody."""
    assert expected(Wishes("a"), HandOverAsked(by="ann", to=to)) is is_expected
    assert not expected(Wishes("a"), None)


@SEEDED
@given(
    held=st.dictionaries(st.sampled_from([f"R{n}" for n in range(12)]), st.sampled_from("abc"), min_size=1),
    data=st.data(),
)
def test_asking_for_more_ends_with_an_even_spread(held: dict[str, str], data: st.DataObject) -> None:
    """Whoever held what: granted one by one, the wishes of all nodes come to an end, and nobody then holds two more."""
    nodes = [Wishes(node) for node in "abcd"[: data.draw(st.integers(3, 4))]]
    holders: dict[str, str | None] = dict(held)
    for _ in range(200):
        asked = [(one, route) for one in nodes if (route := to_ask_for(holders, one)) is not None]
        if not asked:
            break
        one, route = data.draw(st.sampled_from(asked))
        assert holders[route] != one.node
        holders[route] = one.node
    else:
        pytest.fail(f"routes move for ever: {holders}")
    counts = [list(holders.values()).count(one.node) for one in nodes]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("routes", "holders", "mine", "count"),
    [(4, 1, 0, 1), (4, 2, 1, 1), (100, 1, 0, 5), (1000, 1, 0, 50), (1000, 2, 499, 1)],
)
def test_a_node_asks_for_a_tenth_of_what_it_lacks(routes: int, holders: int, mine: int, count: int) -> None:
    """So that a thousand routes are spread in seconds, and few of them move at the same time."""
    assert asks_at_once(routes, holders, mine) == count


def test_a_node_asks_for_what_is_meant_for_it_and_for_no_more_than_it_may_hold() -> None:
    """Not while anything is without a holder, nor again for what it asked for lately."""
    holders: dict[str, str | None] = {"X": "a", "Y": "a", "Z": "b"}
    wishes = Wishes("b", frozenset({"Y"}))
    assert to_ask_for(holders, wishes) == "Y"
    assert to_ask_for(holders, wishes, ["Y"]) is None
    assert to_ask_for(holders | {"X": None}, wishes) is None
    assert to_ask_for(holders, Wishes("b", frozenset({"Y"}), most=1)) is None
    assert to_ask_for(holders, Wishes("b")) is None
    assert to_ask_for(holders, Wishes("c", most=1)) in {"X", "Y"}
    assert to_ask_for({"X": "a"}, Wishes("c")) is None


def test_a_route_that_fails_here_is_left_to_others_for_longer_each_time() -> None:
    """Up to half a minute, and never for ever."""
    pauses = [pause_s(count) for count in range(9)]
    assert pauses == sorted(pauses)
    assert pauses[1] == 1
    assert pauses[-1] == 30


def test_an_order_at_the_wrong_node_waits_as_long_as_its_caller_once_it_is_recorded() -> None:
    """Until then it waits a second at most: nobody may have got it at all."""
    wait = Elsewhere(100.0, 130.0)
    assert wait.pause_s(100.0, known=False) == pytest.approx(0.02)
    assert wait.pause_s(101.0, known=False) is None
    assert wait.pause_s(101.0, known=True) == pytest.approx(0.2)
    assert wait.pause_s(129.9, known=True) == pytest.approx(0.1)
    assert wait.pause_s(130.0, known=True) is None
    assert Elsewhere(100.0, 100.0).pause_s(100.0, known=False) is None


@SEEDED
@given(
    lease_s=st.floats(0.5, 60),
    renewals=st.lists(st.floats(0.01, 0.4), max_size=8),
    off_us=st.integers(-(10**15), 10**15),
    late_s=st.floats(0, 0.2),
)
def test_a_node_knows_when_a_lease_ends_whatever_the_ledgers_clock_says(
    lease_s: float, renewals: list[float], off_us: int, late_s: float
) -> None:
    """Refused once, it follows the lease by differences: it asks no earlier than the end, and no later than by its delay."""

    def ledgers_us(at_s: float) -> int:
        return round(at_s * 1_000_000) + off_us

    now_s, until_s = 5.0, 5.0 + lease_s
    awaited = leases.refused(until_s - now_s, now_s + late_s)
    awaited = leases.looked(awaited, ledgers_us(until_s), now_s + late_s)
    for part in renewals:
        now_s += part * lease_s
        until_s = now_s + lease_s
        awaited = leases.looked(awaited, ledgers_us(until_s), now_s + late_s)
    assert until_s - 1e-4 <= awaited.free_at_s <= until_s + late_s + 1e-4
    assert not leases.is_over(awaited, until_s - 1e-3)
    assert leases.is_over(awaited, until_s + late_s + 1e-3)
    given_back = leases.looked(awaited, None, now_s + 0.1)
    assert leases.is_over(given_back, now_s + 0.1)
    assert given_back.free_at_s == pytest.approx(min(now_s + 0.1, awaited.free_at_s))


def test_a_route_seen_for_the_first_time_is_asked_for() -> None:
    """Only the ledger can tell for how long it is lent: its clock is not known here."""
    first = leases.looked(leases.Awaited(), 7, 100.0)
    assert first.free_at_s == 100.0
    assert not leases.is_over(first, 200.0)  # that is no word of the ledger's
    assert leases.looked(leases.Awaited(), None, 100.0).free_at_s == 100.0
    assert leases.looked(leases.looked(leases.Awaited(), None, 100.0), None, 101.0).free_at_s == 100.0
