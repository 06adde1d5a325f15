"""Which node takes which route when several share a ledger: the rule of a fair spread. Pure; who holds a route is decided by
the ledger alone, and this only says who asks when.

Nobody leads. Every node looks at who holds what, leaves a route that came free to others for a moment that is longer the more
it holds already, and asks then: the first who asks gets it. So routes spread evenly, move to whoever is left when a node dies,
and need no agreement beyond the ledger's own.
"""

import hashlib
from collections.abc import Iterable

import msgspec

LOOK_EVERY_S = 0.2
"""The pause between two looks at who holds which route: by so much later a node may notice that one was given back."""
STEP_S = 0.06
"""By so much later a node asks for a route for each one that it holds."""
MOST_HELD_BACK_S = 0.4
"""The longest that a node leaves a free route to others. A lease, this and a look are less than a lease and a second."""
AFTER_HAND_OVER_S = 5.0
"""For so long a node does not ask again for what it gave to others on purpose."""
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


def held_back_s(route: str, wishes: Wishes, mine: int, share: int) -> float | None:
    """Return for how long a node leaves a route to others after it came free; ``None``: it does not ask for it.

    ``mine``: how many it holds; ``share``: how many would be fair.
    """
    if wishes.most is not None and mine >= wishes.most:
        return None
    if route in wishes.prefer:
        return 0.0
    if mine >= share:
        return MOST_HELD_BACK_S + jitter(wishes.node) * STEP_S
    return min((mine + jitter(wishes.node)) * STEP_S, MOST_HELD_BACK_S)


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
