"""The promises of DESIGN.md, each as a check over the whole history of a simulated world and what it left behind.

A check is a function from an :class:`~onefill.sim.checkers_index.Index` to a :class:`Verdict`: how many cases it had to judge,
and what broke. A check that judged nothing has proven nothing, which is why the cases are counted.
"""

from collections.abc import Callable

from onefill.sim import (
    checkers_answers,
    checkers_books,
    checkers_nodes,
    checkers_orders,
    checkers_record,
    checkers_told,
    checkers_watch,
)
from onefill.sim.checkers_index import Index, Verdict, Violation
from onefill.sim.world import Run

__all__ = ["CHECKS", "Verdict", "Violation", "judge"]

CHECKS: dict[str, Callable[[Index], Verdict]] = {
    "ONE-ORDER": checkers_orders.one_order,
    "LEDGER-FIRST": checkers_orders.ledger_first,
    "SAME-ID": checkers_orders.same_id,
    "ASK-FIRST": checkers_orders.ask_first,
    "IN-TIME": checkers_orders.in_time,
    "FILL-ONCE": checkers_books.fill_once,
    "SAME-ANSWER": checkers_answers.same_answer,
    "CANCEL-QUIET": checkers_answers.cancel_quiet,
    "NO-LOSS": checkers_answers.no_loss,
    "SAY-UNKNOWN": checkers_orders.say_unknown,
    "SAY-SO": checkers_orders.say_so,
    "NO-SILENT-HEAL": checkers_books.no_silent_heal,
    "CONTROL": checkers_books.control_holds,
    **checkers_watch.CHECKS,
    "ONE-WRITER": checkers_nodes.one_writer,
    "TOLD-ONCE": checkers_told.told_once,
    "SPLIT-BRAIN": checkers_nodes.split_brain,
    "FAIL-CLOSED": checkers_record.fail_closed,
    "APPEND-ONLY": checkers_record.append_only,
    "CONVERGES": checkers_record.converges,
    "NO-DEFECT": checkers_record.no_defect,
}
"""By promise. IN-TIME: an order that is stale is never sent. SAY-SO is the other half of SAY-UNKNOWN: a second order that no
sender can prevent, and a person's wrong word, are noticed. CONTROL is FAIL-CLOSED's word for the control states. NO-DEFECT: no
exception went unseen, no wake-up was lost, no task was left behind.
"""


def judge(run: Run) -> dict[str, Verdict]:
    """Return what each check says of a world."""
    index = Index(run)
    return {promise: check(index) for promise, check in checks_of(run).items()}


def checks_of(run: Run) -> dict[str, Callable[[Index], Verdict]]:
    """Return the checks that can be made of a world: of one that never came to its end, that it did not."""
    return CHECKS if run.finished else {"NO-DEFECT": CHECKS["NO-DEFECT"]}
