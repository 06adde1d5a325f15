"""Commands that read a ledger, also while a gateway writes it: orders, show, positions, audit verify."""

import datetime as dt
from typing import Annotated

import msgspec
import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, console, errors, print_json, print_table, progress, told
from onefill.core.audit import JournalEntry
from onefill.core.errors import CallerError, UnknownKey
from onefill.core.intent import as_plain
from onefill.core.order import Order
from onefill.core.position import Position
from onefill.core.values import plain
from onefill.engine.book import Book, rebuild
from onefill.ledger.sqlite import SqliteLedger
from onefill.ports.ledger import Loaded
from onefill.service.audit import Audit, verify
from onefill.service.wiring import open_for_reading

_PAGE = 1000
audit_app = typer.Typer(help="The hash-chained record.", no_args_is_help=True)


def moment(at_us: int) -> str:
    """Return a time as people write it, in UTC."""
    return dt.datetime.fromtimestamp(at_us / 1_000_000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def order_json(order: Order) -> dict[str, object]:
    """Return an order as JSON values: what was wanted, and where it stands."""
    return {
        "key": order.key,
        **as_plain(order.intent),
        "client_order_id": order.client_order_id,
        "venue_order_id": order.venue_order_id,
        "status": order.status,
        "cum_quantity": plain(order.cum_quantity),
        "leaves_quantity": plain(order.leaves_quantity),
        "reason": order.reason,
        "anomaly": order.anomaly,
        "cancel_wanted": order.cancel_wanted,
        "recorded_at_us": order.recorded_at_us,
        "valid_until_us": order.valid_until_us,
        "answer": None if order.answer is None else msgspec.Raw(order.answer),
    }


def orders(
    ledger: options.Ledger,
    open_only: Annotated[bool, typer.Option("--open", help="Only orders that are not closed.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many, the last ones.", min=1)] = 50,
    as_json: options.Json = False,
) -> None:
    """List orders, the latest last."""
    with told(as_json=as_json):

        async def read() -> list[Order]:
            async with open_for_reading(ledger) as store:
                return await _last_orders(store, limit, open_only=open_only)

        found = run_loop(read())
        if as_json:
            print_json([order_json(order) for order in found])
            return
        columns = [
            ("key", "left"),
            ("instrument", "left"),
            ("side", "left"),
            ("quantity", "right"),
            ("price", "right"),
            ("status", "left"),
            ("filled", "right"),
            ("client order id", "left"),
        ]
        rows = [
            (
                o.key,
                o.intent.instrument,
                str(o.intent.side),
                plain(o.intent.quantity),
                "market" if o.intent.price is None else plain(o.intent.price),
                str(o.status),
                plain(o.cum_quantity),
                o.client_order_id,
            )
            for o in found
        ]
        print_table("", columns, rows)


async def _last_orders(store: SqliteLedger, limit: int, *, open_only: bool) -> list[Order]:
    if open_only:
        loaded = [one for route in await store.routes() for one in await store.open_orders(route.name)]
        return [one.order for one in loaded][-limit:]
    return await store.last_orders(limit)


def show(
    key: Annotated[str, typer.Argument(help="The order's key.")],
    ledger: options.Ledger,
    account: options.Account = None,
    strategy: options.Strategy = None,
    as_json: options.Json = False,
) -> None:
    """Show one order: what was wanted, where it stands, and everything that happened to it."""
    with told(as_json=as_json):

        async def read() -> tuple[Loaded, list[JournalEntry]]:
            async with open_for_reading(ledger) as store:
                found = await find_key(store, key, account, strategy)
                return found, await store.history(found.order.intent_id)

        loaded, history = run_loop(read())
        order = loaded.order
        if as_json:
            happened = [
                {
                    "sequence": entry.sequence,
                    "at_us": entry.at_us,
                    "epoch": entry.epoch,
                    "kind": entry.kind,
                    "events": msgspec.Raw(entry.payload.encode()),
                    "hash": entry.hash.hex(),
                }
                for entry in history
            ]
            print_json(
                {**order_json(order), "attempts": order.copies, "cancel_attempts": order.cancels, "history": happened}
            )
            return
        for name, value in order_json(order).items():
            if value is not None and name not in {"answer"}:
                console.print(f"{name.replace('_', ' '):>18}  {value}", markup=False)
        rows = [
            (str(entry.sequence), moment(entry.at_us), entry.kind, _told_events(entry.payload)) for entry in history
        ]
        print_table("history", [("entry", "right"), ("when (UTC)", "left"), ("kind", "left"), ("what", "left")], rows)


def _told_events(payload: str) -> str:
    hidden = {"type", "intent", "key", "client_order_id", "venue_cum_quantity"}
    lines = []
    for event in msgspec.json.decode(payload):
        said = ", ".join(
            f"{name} {value}" for name, value in event.items() if name not in hidden and value not in (None, "")
        )
        lines.append(f"{event['type']}: {said}" if said else event["type"])
    return "\n".join(lines)


async def find_key(store: SqliteLedger, key: str, account: str | None, strategy: str | None) -> Loaded:
    """Return the one order with this key; people seldom know account and strategy. Raises UnknownKey or CallerError."""
    if account is not None and strategy is not None:
        exact = await store.by_key(account, strategy, key)
        if exact is None:
            raise UnknownKey(key, account, strategy)
        return exact
    found = [
        one
        for one in await store.matching_keys(key)
        if account in (None, one.order.intent.account) and strategy in (None, one.order.intent.strategy)
    ]
    if not found:
        raise UnknownKey(key, account or "any", strategy or "any")
    if len(found) > 1:
        scopes = ", ".join(f"{one.order.intent.account}/{one.order.intent.strategy}" for one in found)
        raise CallerError(f"key {key!r} was used by several (account/strategy): {scopes}; say which")
    return found[0]


def positions(
    ledger: options.Ledger,
    recompute: Annotated[bool, typer.Option("--recompute", help="From every execution, not the projection.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show positions, computed from the execution log."""
    with told(as_json=as_json):

        async def read() -> list[Position]:
            async with open_for_reading(ledger) as store:
                if recompute:
                    return await rebuild(store)
                book = Book()
                await book.load(store)
                return book.positions()

        found = run_loop(read())
        if as_json:
            print_json(
                [
                    {
                        "account": p.account,
                        "strategy": p.strategy,
                        "venue": p.venue,
                        "instrument": p.instrument,
                        "quantity": plain(p.quantity),
                        "bought": plain(p.bought),
                        "sold": plain(p.sold),
                        "bought_value": plain(p.bought_value),
                        "sold_value": plain(p.sold_value),
                        "executions": p.executions,
                    }
                    for p in found
                ]
            )
            return
        columns = [
            ("account", "left"),
            ("strategy", "left"),
            ("venue", "left"),
            ("instrument", "left"),
            ("quantity", "right"),
            ("bought", "right"),
            ("sold", "right"),
            ("executions", "right"),
        ]
        rows = [
            (
                p.account,
                p.strategy,
                p.venue,
                p.instrument,
                plain(p.quantity),
                plain(p.bought),
                plain(p.sold),
                f"{p.executions:,}",
            )
            for p in found
        ]
        print_table("", columns, rows)


@audit_app.command("verify")
def audit_verify(ledger: options.Ledger, as_json: options.Json = False) -> None:
    """Verify every route's hash chain and that positions follow from the executions. Exit code 5 if not."""
    with told(as_json=as_json):

        async def read() -> Audit:
            async with open_for_reading(ledger) as store:
                total = sum(route.journal_entries for route in await store.routes())
                with progress(shown=not as_json) as bar:
                    task = bar.add_task("verifying", total=total, note="")
                    return await verify(store, lambda count: bar.update(task, advance=count))

        audit = run_loop(read())
        if as_json:
            print_json({"holds": audit.holds, "positions_agree": audit.positions_agree, "routes": audit.routes})
        else:
            for route in audit.routes:
                fault = "holds" if route.fault is None else f"BROKEN at {route.fault}"
                console.print(f"{route.route}: {route.entries:,} entries, chain {fault}", markup=False)
            if not audit.positions_agree:
                errors.print("the stored positions do not follow from the executions", markup=False)
        if not audit.holds:
            raise typer.Exit(ExitCode.BROKEN)
