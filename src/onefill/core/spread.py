"""Which node takes which route when several share a ledger: the rule of a fair spread. Pure; who holds a route is decided by
the ledger alone, and this only says who asks when.

Nobody leads. Every node looks at who holds what, leaves a route that came free to others for a moment that is longer the more
it holds already, and asks then: the first who asks gets it. So routes spread evenly, move to whoever is left when a node dies,
and need no agreement beyond the ledger's own. A node that holds less than its share asks one that holds more for a route.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping

import msgspec

LOOK_EVERY_S = 0.2
"""The pause between two looks at who holds which route: by so much later a node may notice that one was given back."""
HURRIED_LOOK_S = 0.05
"""The same while a route is on its way to this node, or to whichever asks first."""
HURRY_FOR_S = 3.0
"""For how long after a wish was seen first that is expected."""
STEP_S = 0.06
"""By so much later a node asks for a route for each one that it holds."""
MOST_HELD_BACK_S = 0.4
"""The longest that a node leaves a free route to others. A lease, this and a look are less than a lease and a second."""
AFTER_HAND_OVER_S = 2.0
"""For so long a node does not ask again for what it gave to others on purpose."""
ASK_EVERY_S = 1.0
"""The pause between two wishes of a node for what others hold: so routes move a few at a time."""
NOT_AGAIN_S = 60.0
"""For so long a node does not ask again for a route that it asked for."""
AFTER_TROUBLE_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""For how long a node leaves a route to others that it could not take up, or gave up because something failed there."""
AFTER_LEDGER_S = 0.3
"""For how long it does so where the ledger could not be used: no other node is better off, as a rule, and when it can be used
again, as after a failover of the database, nobody should still be waiting."""


class Wishes(msgspec.Struct, frozen=True, gc=False):
    """What a node is meant to hold. ``prefer``: routes that are meant for it; ``most``: how many it holds at most."""

    node: str
    prefer: frozenset[str] = frozenset()
    most: int | None = None


class HandOverAsked(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A wish that a route is handed over. ``to``: the node that is to have it; ``None``: any other than its holder.

    ``by``: who asks: a person, or a node by its name, which asks for itself.
    """

    by: str
    to: str | None = None
    at_us: int = 0


def jitter(node: str) -> float:
    """Return a number from 0 to 1 that belongs to a node, so that not all of them ask at the same moment."""
    return _number(node) / 2**64


def in_turn(routes: Iterable[str], wishes: Wishes) -> list[str]:
    """Return the routes in the order in which a node asks for them: its own first, then each node another one."""
    return sorted(
        routes,
        key=lambda route: (route not in wishes.prefer, _number(f"{wishes.node} {route}"), route),
    )


def _number(text: str) -> int:
    """Return a number from 0 to 2^64 that is any text's own, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def fair_share(routes: int, nodes: int) -> int:
    """Return how many routes a node holds at most when they are spread evenly."""
    return -(-routes // max(nodes, 1))


def held_back_s(route: str, wishes: Wishes, mine: int, share: int, asked: HandOverAsked | None = None) -> float | None:
    """Return for how long a node leaves a route to others after it came free; ``None``: it does not ask for it.

    ``mine``: how many it holds; ``share``: how many would be fair; ``asked``: the wish on which it was handed over.
    """
    if wishes.most is not None and mine >= wishes.most:
        return None
    meant = None if asked is None else asked.to
    if meant == wishes.node or (meant is None and route in wishes.prefer):
        return 0.0
    if mine >= share or meant is not None:
        return MOST_HELD_BACK_S + jitter(wishes.node) * STEP_S
    return min((mine + jitter(wishes.node)) * STEP_S, MOST_HELD_BACK_S)


def gives_way(route: str, wishes: Wishes, asked: HandOverAsked) -> bool:
    """Tell whether the holder of a route does as it is asked: always for a person, and for a node unless it is its own."""
    if asked.to == wishes.node:
        return False
    return asked.to != asked.by or route not in wishes.prefer


def expected(wishes: Wishes, asked: HandOverAsked | None) -> bool:
    """Tell whether a route that this node does not hold is about to be given to it, or to any."""
    return asked is not None and asked.to in (None, wishes.node)


def to_ask_for(holders: Mapping[str, str | None], wishes: Wishes, not_again: Collection[str] = ()) -> str | None:
    """Return the route that a node is to ask for although another holds it, ``None``: there is none.

    ``holders``: of every route the node that holds it. ``not_again``: routes that it asked for lately. It asks for what is
    meant for it; and, while it holds two less than another and no more than its share, for one of that other's. Nothing while
    any route is without a holder: then things move already.
    """
    if None in holders.values():
        return None
    counts = {wishes.node: 0}
    for holder in holders.values():
        counts[str(holder)] = counts.get(str(holder), 0) + 1
    mine = counts[wishes.node]
    if wishes.most is not None and mine >= wishes.most:
        return None
    others = [route for route in in_turn(holders, wishes) if holders[route] != wishes.node and route not in not_again]
    if others and others[0] in wishes.prefer:
        return others[0]
    richest = max(counts, key=lambda node: (counts[node], node))
    if counts[richest] < mine + 2 or mine >= fair_share(len(holders), len(counts)):
        return None
    return next((route for route in others if holders[route] == richest), None)


def asks_at_once(routes: int, holders: int, mine: int) -> int:
    """Return for how many routes a node asks at the same time: a tenth of what it lacks, and at least for one."""
    return max((fair_share(routes, holders + (mine == 0)) - mine) // 10, 1)


def pause_s(failures: int) -> float:
    """Return for how long a node leaves a route to others after the ``failures``-th time in a row that it failed there."""
    return AFTER_TROUBLE_S[min(max(failures, 1), len(AFTER_TROUBLE_S)) - 1]


# ------------------------------------------------------------------- asking the wrong node

HOLDER_WITHIN_S = 1.0
"""How long an order for a route that is held elsewhere waits, at a node that does not hold it, for its key to turn up: the same
decision is often sent to two nodes at once, and a route may just be on its way here."""
_SHORTEST_S = 0.02
_LONGEST_S = 0.2


class Elsewhere(msgspec.Struct, frozen=True, gc=False):
    """An order that waits for the holder of its route: since when, and until when somebody waits for its answer."""

    began_s: float
    until_s: float

    def pause_s(self, now_s: float, *, known: bool) -> float | None:
        """Return the pause before the ledger is looked at again; ``None``: it is not. ``known``: the order is recorded."""
        until_s = self.until_s if known else min(self.until_s, self.began_s + HOLDER_WITHIN_S)
        if now_s >= until_s:
            return None
        return min(max((now_s - self.began_s) / 4, _SHORTEST_S), _LONGEST_S, until_s - now_s)
