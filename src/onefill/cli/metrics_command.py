"""``onefill metrics``: the safety figures that a ledger file shows."""

from collections.abc import Iterator
from typing import Annotated

import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import print_json, print_table, remark, told
from onefill.service import metrics_rest
from onefill.service.metrics_rest import RestFigures
from onefill.service.wiring import SystemClock, open_for_reading


def metrics(
    ledger: Annotated[str, typer.Argument(help="The ledger: a file, or a PostgreSQL URL.")],
    as_json: options.Json = False,
) -> None:
    """Print the safety figures of every route over the ledger's whole history, also beside a running gateway.

    What is of one process only (latencies, replays dropped) is served by `onefill run --metrics HOST:PORT`.
    """
    with told(as_json=as_json):

        async def read() -> list[RestFigures]:
            async with open_for_reading(ledger) as store:
                return await metrics_rest.read(store, SystemClock().now_us())

        found = run_loop(read())
        if as_json:
            print_json(found)
            return
        if not found:
            remark("no routes: no gateway has opened this ledger yet")
        for figures in found:
            print_table(figures.route, [("figure", "left"), ("value", "right"), ("from", "left")], list(_rows(figures)))


def _rows(f: RestFigures) -> Iterator[tuple[str, str, str]]:
    yield "DRR", _share(f.drr), f"{f.duplicate_rejects:,} duplicate rejects / {f.new_orders:,} new orders"
    yield "UOC", f"{f.uncertain:,}", f"{f.parked:,} wait for a person; {f.sending:,} more with a reply awaited"
    yield "RDR", "unknown", "replays dropped are counted while a gateway runs"
    yield "ICC", f"{f.id_collisions:,}", "incidents about a client order id"
    yield (
        "RBD",
        _seconds(f.break_mean_s),
        f"mean of {f.breaks_converged:,} breaks, longest {_seconds(f.break_longest_s)}",
    )
    yield "open break", _seconds(f.break_oldest_open_s), "the oldest that lasts"
    yield "attempts", f"{sum(f.copies.values()):,}", f"copies sent or claimed, {f.resends:,} of them again"
    yield "executions", f"{f.executions:,}", f"{f.quarantined:,} kept apart"
    yield "incidents", f"{sum(f.open_incidents.values()):,}", _told(f.open_incidents)


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.2%}"


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{value:,.1f} s"


def _told(kinds: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in kinds.items()) or "none is open"
