"""How a run of simulated worlds is told: a table per kind of venue, one of faults by step, and every broken promise."""

from collections.abc import Iterator
from typing import Any

from onefill.sim.history import trace
from onefill.sim.simulate_nodes import NODE_COUNTS
from onefill.sim.simulate_tally import COUNTS, Broken, Tally
from onefill.sim.world import Run

_SHOWN = 5
"""Broken worlds that are told one by one."""


def lines(result: Tally, took_s: float, missing: list[str]) -> Iterator[str]:
    """Yield the report of a run as lines."""
    yield from _table("scope/look-up/expiry/T", COUNTS, _family_rows(result))
    if result.nodes:
        yield ""
        yield from _table("several nodes", NODE_COUNTS, _node_rows(result))
    yield ""
    yield from _table("fault at step", ("injected", "effective", "violations"), _fault_rows(result))
    yield ""
    yield from _table("promise", ("cases", "broken"), _promise_rows(result))
    yield ""
    for broken in result.broken[:_SHOWN]:
        yield f"BROKEN {broken.promise} in world {broken.seed} ({broken.profile}): {broken.text}"
        yield f"       replay: {broken.replay}"
    if len(result.broken) > _SHOWN:
        yield f"… and {len(result.broken) - _SHOWN} more"
    for text in missing:
        yield f"NOT SHOWN {text}"
    speed = result.worlds / took_s if took_s else 0.0
    yield (
        f"{result.worlds:,} worlds in {took_s:.1f} s ({speed:.1f} a second), {result.virtual_s / 3600:.1f} h of virtual time, "
        f"{result.records:,} records; {len(result.broken)} broken promises"
    )


def _family_rows(result: Tally) -> list[tuple[str, list[int]]]:
    rows = [(family, [counts[name] for name in COUNTS]) for family, counts in sorted(result.families.items())]
    return [*rows, ("all", [sum(row[1][column] for row in rows) for column in range(len(COUNTS))])]


def _node_rows(result: Tally) -> list[tuple[str, list[int]]]:
    return [(nodes, [counts[name] for name in NODE_COUNTS]) for nodes, counts in sorted(result.nodes.items())]


def _fault_rows(result: Tally) -> list[tuple[str, list[int]]]:
    return [
        (name, [fault.injected, fault.effective, fault.violations]) for name, fault in sorted(result.faults.items())
    ]


def _promise_rows(result: Tally) -> list[tuple[str, list[int]]]:
    broken = [one.promise for one in result.broken]
    return [(promise, [cases, broken.count(promise)]) for promise, cases in result.cases.items()]


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[str, list[int]]]) -> Iterator[str]:
    """Yield a table; long column names go over two lines."""
    heads = [column.rsplit(" ", 1) if " " in column else ["", column] for column in columns]
    widths = [
        max(*map(len, head), *(len(f"{row[1][place]:,}") for row in rows)) if rows else max(map(len, head))
        for place, head in enumerate(heads)
    ]
    first = max([len(title), *(len(row[0]) for row in rows)])
    for line in (0, 1):
        cells = "  ".join(head[line].rjust(width) for head, width in zip(heads, widths, strict=True))
        if line or cells.strip():
            yield f"{title if line else '':<{first}}  {cells}"
    for name, values in rows:
        cells = "  ".join(f"{value:,}".rjust(width) for value, width in zip(values, widths, strict=True))
        yield f"{name:<{first}}  {cells}"


def as_json(result: Tally, took_s: float, missing: list[str]) -> dict[str, Any]:
    """Return the report of a run as plain values."""
    return {
        "worlds": result.worlds,
        "seconds": round(took_s, 3),
        "virtual_seconds": round(result.virtual_s, 3),
        "records": result.records,
        "families": {family: {name: counts[name] for name in COUNTS} for family, counts in result.families.items()},
        "nodes": {nodes: {name: counts[name] for name in NODE_COUNTS} for nodes, counts in result.nodes.items()},
        "faults": result.faults,
        "cases": result.cases,
        "broken": result.broken,
        "not_shown": missing,
    }


def world_lines(run: Run, broken: list[Broken], *, all_of_it: bool = True) -> Iterator[str]:
    """Yield one world's story: what it was, what happened, and which promises it broke."""
    plan = run.plan
    settings = plan.settings
    yield f"world {plan.seed}: {plan.name}; {plan.hosts} host(s); execution ids per {plan.dialect.execution_id_scope}"
    yield (
        f"expiry {plan.dialect.request_expiry_s if plan.dialect.request_expiry else None} s, "
        f"T {plan.dialect.conclusive_after_s} s, reply time-out {settings.reply_timeout_s} s, "
        f"time to live {settings.time_to_live_s} s, lease {settings.lease_s} s, readers lag {plan.weather.lag_s} s"
    )
    if all_of_it:
        yield from trace(run.history)
    for one in broken:
        where = f" (at {one.at_us / 1e6:.6f})" if one.at_us else ""
        yield f"BROKEN {one.promise}: {one.text}{where}"
    if not broken:
        yield "no promise was broken"
    yield f"history {run.history.digest()}"
