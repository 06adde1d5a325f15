"""Write docs/lifecycle.md from the life-cycle table, so that page and code cannot drift. ``--check`` only compares."""

import sys
from pathlib import Path

from onefill.core.lifecycle import ENDED, NEVER_SENT, TABLE, UNANSWERED, WORKING, Signal, Status, To

PAGE = Path(__file__).resolve().parent.parent / "docs" / "lifecycle.md"
_HEAD = """# The life of an order

This page is made from the table in `src/onefill/core/lifecycle.py` by `make docs`; a test keeps the two equal.

States are FIX's (tag 39) with six of our own: `recorded`, `sending`, `uncertain`, `expired_unsent`, `canceled_unsent` and
`refused`. A signal is what an event means for the state; several events may mean the same. Rows and columns that stand for *no
change* are left out of the picture and shown as `·` in the table; an empty cell cannot happen, and meeting it is a defect.

"""
_FORKS = {
    To.BY_QUANTITY: (Status.NEW, Status.PARTIALLY_FILLED, Status.FILLED),
    To.AS_IT_WAS: (
        Status.PENDING_NEW,
        Status.PENDING_REPLACE,
        Status.NEW,
        Status.PARTIALLY_FILLED,
        Status.FILLED,
    ),
    To.FILLED_OR_SAME: (Status.FILLED,),
    To.FILLED_OR_CANCELED: (Status.CANCELED,),
    To.BY_COPIES: (Status.UNCERTAIN, Status.RECORDED),
    To.REFUSED_BY_COPIES: (Status.UNCERTAIN, Status.REJECTED),
}

_NAMES = {
    To.SAME: "·",
    To.BY_QUANTITY: "*quantity*",
    To.AS_IT_WAS: "*as it was*",
    To.FILLED_OR_SAME: "*filled?*",
    To.FILLED_OR_CANCELED: "*filled, canceled*",
    To.BY_COPIES: "*copies*",
    To.REFUSED_BY_COPIES: "*copies, rejected*",
}


def _targets(state: Status, target: Status | To) -> list[Status]:
    if isinstance(target, Status):
        return [target] if target is not state else []
    return [status for status in _FORKS.get(target, ()) if status is not state]


def _picture() -> str:
    arrows: dict[tuple[Status, Status], list[Signal]] = {}
    for state, row in TABLE.items():
        if state in NEVER_SENT:
            continue  # only a contradiction leads out of these: told in the table
        for signal, target in row.items():
            for to in _targets(state, target):
                arrows.setdefault((state, to), []).append(signal)
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> recorded"]
    lines += [f"    {a} --> {b}: {', '.join(signals)}" for (a, b), signals in arrows.items()]
    lines += [f"    {state} --> [*]" for state in Status if state in ENDED]
    return "\n".join([*lines, "```"])


def _cell(target: Status | To | None) -> str:
    if target is None:
        return ""
    if isinstance(target, Status):
        return f"`{target}`"
    return _NAMES[target]


def _table() -> str:
    signals = list(Signal)
    lines = ["| state | " + " | ".join(signals) + " |", "|---" * (len(signals) + 1) + "|"]
    for state in Status:
        lines.append(f"| `{state}` | " + " | ".join(_cell(TABLE[state].get(signal)) for signal in signals) + " |")
    legend = [f"- {_cell(target)}: {target.value}" for target in To]
    return "\n".join([*lines, "", *legend])


def _groups() -> str:
    groups = {
        "No answer can be given yet": UNANSWERED,
        "At work at the venue": WORKING,
        "Ended": ENDED,
        "Ended without ever having been sent": NEVER_SENT,
    }
    return "\n".join(
        f"- {name}: {', '.join(f'`{status}`' for status in Status if status in group)}"
        for name, group in groups.items()
    )


def page() -> str:
    """Return the page's text."""
    return f"{_HEAD}{_picture()}\n\n## Every state and signal\n\n{_table()}\n\n## Groups\n\n{_groups()}\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(
            0 if PAGE.read_text("utf-8") == page() else "docs/lifecycle.md is not what the table says: run `make docs`"
        )
    PAGE.write_text(page(), "utf-8")
