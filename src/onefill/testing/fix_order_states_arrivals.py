"""In which other orders the messages of a matrix may arrive: twice, all over again, and out of order.

Requests keep their places, because they are ours. What the sell side sends between two of them is permuted.
"""

import itertools
import math
import random
from collections.abc import Iterator

from onefill.testing.fix_order_states import Collection, Matrix, Path, Row, paths
from onefill.testing.fix_order_states_play import OurSide, Outcome, script, set_up_ids

MOST = 5_040
"""Most permutations of one path. Where there are more, so many different ones are drawn."""
SHUFFLES = 24
"""Shuffles of one path in which every message comes twice."""
Steps = tuple[Row, ...]


def segments(steps: Steps) -> list[list[Row]]:
    """Return the messages in their parts: each request alone, and what is sent between two of them together."""
    parts: list[list[Row]] = []
    for row in steps:
        if row.sender == "out" and parts and parts[-1][0].sender == "out":
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts


def count(steps: Steps) -> int:
    """Return how many permutations there are."""
    return math.prod(math.factorial(len(part)) for part in segments(steps))


def _joined(parts: list[list[Row]]) -> Steps:
    return tuple(itertools.chain.from_iterable(parts))


def _shuffled(parts: list[list[Row]], chance: random.Random) -> list[list[Row]]:
    return [chance.sample(part, len(part)) for part in parts]


def permutations(steps: Steps, seed: str) -> Iterator[Steps]:
    """Return all permutations of the messages between requests, or :data:`MOST` of them drawn by a seed."""
    parts = segments(steps)
    if count(steps) <= MOST:
        for choice in itertools.product(*(itertools.permutations(part) for part in parts)):
            yield tuple(itertools.chain.from_iterable(choice))
        return
    chance = random.Random(seed)  # noqa: S311 - not a secret
    drawn: dict[tuple[int, ...], Steps] = {}
    while len(drawn) < MOST:
        one = _joined(_shuffled(parts, chance))
        drawn[tuple(map(id, one))] = one
    yield from drawn.values()


def shuffles(steps: Steps, seed: str) -> Iterator[Steps]:
    """Return shuffles in which every message of the sell side comes twice, drawn by a seed."""
    chance = random.Random(f"{seed} twice")  # noqa: S311 - not a secret
    parts = [part * 2 if part and part[0].sender == "out" else part for part in segments(steps)]
    for _ in range(SHUFFLES):
        yield _joined(_shuffled(parts, chance))


def replays(steps: Steps) -> Iterator[Steps]:
    """Return the messages with each of the sell side's coming twice at once, and with all of them after the end."""
    yield _joined([[row, row] if row.sender == "out" else [row] for row in steps])
    yield (*steps, *(row for row in steps if row.sender == "out"))


def tellable(collection: Collection, matrix: Matrix, steps: Steps) -> bool:
    """Tell whether the outcome is the same by right: no two messages changed places whose order nothing tells."""
    for pair in collection.order_matters:
        if pair.matrix == matrix.id:
            last = {row.time: place for place, row in enumerate(steps) if not row.alternative}
            if pair.first in last and pair.second in last and last[pair.first] > last[pair.second]:
                return False
    return True


def variants(collection: Collection, matrix: Matrix, path: Path) -> tuple[Steps, list[Steps]]:
    """Return a path's messages in their own order, and in every other order in which they are tried."""
    steps = script(path.rows, known=set_up_ids(collection, matrix))
    seed = f"{matrix.id} {path.name}"
    tried = [*replays(steps), *permutations(steps, seed), *shuffles(steps, seed)]
    return steps, [one for one in tried if tellable(collection, matrix, one)]


def outcomes(collection: Collection, matrix: Matrix, steps: Steps) -> dict[str, Outcome]:
    """Return what has become of the orders of a matrix when its messages came in this order."""
    side = OurSide(collection, matrix, steps)
    for row in steps:
        side.play(row)
    return side.outcomes()


def faults(collection: Collection, matrix: Matrix) -> list[str]:
    """Tell every order of arrival that leaves an order other than the matrix does."""
    told = []
    for path in paths(matrix, collection.ours(matrix)):
        steps, tried = variants(collection, matrix, path)
        wanted = outcomes(collection, matrix, steps)
        for one in tried:
            found = outcomes(collection, matrix, one)
            if found != wanted:
                told.append(f"{matrix.id} {path.name}: {' '.join(row.time for row in one)}: {found}, not {wanted}")
    return told


def tried_count(collection: Collection, matrix: Matrix) -> int:
    """Return in how many orders of arrival a matrix is tried, the replays among them."""
    return sum(len(variants(collection, matrix, path)[1]) for path in paths(matrix, collection.ours(matrix)))
