"""The page about FIX's order state change matrices, made from the data and from what is run of it."""

import sys
from collections.abc import Iterator

from onefill.testing.fix_order_states import Collection, Limits, Matrix, load, paths
from onefill.testing.fix_order_states_arrivals import MOST, SHUFFLES, tried_count
from onefill.testing.fix_order_states_exchange import CANCEL_REFUSED, NOT_SAID, REJECTED_LATE, produced

_HEAD = """# FIX's order states

This page is made by `python -m onefill.testing.fix_order_states_page`; a test keeps it equal to the data.

Appendix D of the FIX specifications tells in small tables what passes between two sides of an order and what state
the order is in after each message. {matrices} of these matrices are kept as data in
`src/onefill/testing/fix_order_states.json`: all 37 of FIX 4.2, all 47 of FIX 4.4, and one that came later. Titles and
notes are this project's own. FIX 4.4's were read in a text copy of its volume 4 (the link leads to the specification),
in which some cells had run together or were lost; those were read in the place that stands beside it as *checked*.

Each matrix is run in two roles. Every way through it is taken: the main one, and each that ends with an alternative,
such as a rejected order or a refused request.

* **Our view**: each row is told to this project's own order as a FIX adapter would tell it, and state, quantity,
  executed and remaining quantity are compared with the row. Then the same messages arrive in {tried} other orders: each
  one twice, all of them again after the end, in every permutation between two requests (were there more than {most:,}
  of one way, so many drawn by a seed), and in {shuffles} shuffles with every message twice. State, quantities and
  applied executions must come out the same.
* **Exchange**: the simulated exchange is made to do what the matrix tells, and its reports and answers are compared
  with it.

"""
_TABLE = """| matrix | what happens | source | our view | orders of arrival | exchange |
| --- | --- | --- | --- | --- | --- |
"""


def _ways(limits: Limits, ways: int) -> str:
    if limits.none:
        return "none"
    return f"{ways}, to {limits.stops}" if limits.stops else str(ways)


def _source(matrix: Matrix, addresses: list[str]) -> str:
    source = matrix.source
    where = f"[{source.spec}, {source.section}][{addresses.index(source.address) + 1}]"
    return f"{where}; checked: {source.checked}" if source.checked else where


def _line(collection: Collection, matrix: Matrix, addresses: list[str]) -> str:
    ours, exchanged = collection.ours(matrix), collection.exchanged(matrix)
    cells = (
        matrix.id,
        matrix.title,
        _source(matrix, addresses),
        _ways(ours, len(paths(matrix, ours))),
        str(tried_count(collection, matrix)),
        _ways(exchanged, len(produced(collection, matrix))),
    )
    return f"| {' | '.join(cells)} |\n"


def _reasons(title: str, lines: Iterator[str]) -> str:
    return f"\n## {title}\n\n{''.join(f'* {line}{chr(10)}' for line in lines)}"


def _limits(known: dict[str, Limits]) -> Iterator[str]:
    for name, limits in known.items():
        if limits.none:
            yield f"{name}, not at all: {limits.none}."
        elif limits.stops:
            yield f"{name}, up to its row {limits.stops}: {limits.reason}."


def _differences(collection: Collection) -> Iterator[str]:
    for name, limits in collection.our_view.items():
        for told in limits.differs:
            values = {"state": told.status, "executed": told.cum, "remaining": told.leaves}
            shown = ", ".join(f"{field} {value}" for field, value in values.items() if value)
            yield f"{name} at {told.time}: {shown}; {told.reason}."


def page(collection: Collection) -> str:
    """Return the page."""
    matrices = collection.matrices
    head = _HEAD.format(
        matrices=len(matrices),
        tried=f"{sum(tried_count(collection, matrix) for matrix in matrices):,}",
        most=MOST,
        shuffles=SHUFFLES,
    )
    addresses = list(dict.fromkeys(matrix.source.address for matrix in matrices))
    table = _TABLE + "".join(_line(collection, matrix, addresses) for matrix in matrices)
    links = "".join(f"[{number}]: {address}\n" for number, address in enumerate(addresses, 1))
    parts = (
        _reasons("How far our view goes", _limits(collection.our_view)),
        _reasons("Where our view differs", _differences(collection)),
        _reasons(
            "Orders of arrival that nothing can tell apart",
            (
                f"{pair.matrix}, rows {pair.first} and {pair.second}: {pair.reason}."
                for pair in collection.order_matters
            ),
        ),
        _reasons("How far the exchange goes", _limits(collection.exchange)),
        _reasons(
            "What the exchange does not say",
            iter(
                (
                    *(f"{kind.replace('_', ' ')}: {reason}." for kind, reason in NOT_SAID.items()),
                    f"alternatives: {REJECTED_LATE}, and {CANCEL_REFUSED}.",
                )
            ),
        ),
        _reasons(
            "Where the source contradicts itself",
            (f"{row.matrix} at {row.time}: {row.reason}." for row in collection.quantity_exceptions),
        ),
    )
    return f"{head}{table}{''.join(parts)}\n{links}"


if __name__ == "__main__":
    sys.stdout.write(page(load()))
