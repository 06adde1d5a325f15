"""Commands that read a ledger, also while a gateway writes it: orders, show, positions."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Annotated

import msgspec
import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import print_json, print_table, remark, say, told
from onefill.core.audit import DAY_US, JournalEntry
from onefill.core.errors import CallerError
from onefill.core.intent import as_plain
from onefill.core.order import Order, Replacement, Terms
from onefill.core.position import Position
from onefill.core.values import plain
from onefill.engine.book import load_all, rebuild
from onefill.ports.ledger import Loaded, RouteInfo
from onefill.ports.ledger_browse import BrowsableLedger
from onefill.service.wiring import open_for_reading


class NoSuchOrder(CallerError):
    """The ledger has no order with this key."""


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
        "parked": order.parked,
        "cancel_wanted": order.cancel_wanted,
        "in_force": None if order.in_force is None else _terms_json(order.in_force),
        "replacement": None if order.replacement is None else _terms_json(order.replacement),
        "recorded_at_us": order.recorded_at_us,
        "valid_until_us": order.valid_until_us,
        "answer": None if order.answer is None else msgspec.Raw(order.answer),
    }


def _terms_json(terms: Terms | Replacement) -> dict[str, object]:
    return {
        "client_order_id": terms.client_order_id,
        "quantity": plain(terms.quantity),
        "price": None if terms.price is None else plain(terms.price),
    }


def history_json(history: Iterable[JournalEntry]) -> list[dict[str, object]]:
    """Return journal entries as JSON values."""
    return [
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
        elif found:
            _print_orders(found)
        else:
            remark("no open orders" if open_only else "no orders")


def _print_orders(found: list[Order]) -> None:
    columns = [
        ("key", "left"),
        ("account", "left"),
        ("strategy", "left"),
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
            o.intent.account,
            o.intent.strategy,
            o.intent.instrument,
            str(o.intent.side),
            plain(o.quantity),
            "market" if o.price is None else plain(o.price),
            str(o.status),
            plain(o.cum_quantity),
            o.client_order_id,
        )
        for o in found
    ]
    print_table("", columns, rows, spare=("client order id", "strategy", "account", "instrument"))


async def _last_orders(store: BrowsableLedger, limit: int, *, open_only: bool) -> list[Order]:
    if open_only:
        loaded = [one for route in await store.routes() for one in await store.open_orders(route.name)]
        return sorted((one.order for one in loaded), key=lambda o: (o.recorded_at_us, o.intent_id))[-limit:]
    return await store.last_orders(limit)


def show(
    key: Annotated[str, typer.Argument(help="The order's key.")],
    ledger: options.Ledger,
    account: options.Account = None,
    strategy: options.Strategy = None,
    archive: options.Archive = None,
    as_json: options.Json = False,
) -> None:
    """Show one order: what was wanted, where it stands, and everything that happened to it."""
    with told(as_json=as_json):

        async def read() -> tuple[Loaded, list[JournalEntry], str | None]:
            async with open_for_reading(ledger, archive) as store:
                found = await find_key(store, key, account, strategy)
                history = await store.history(found.order.intent_id)
                return found, history, _archived(found.order, await store.routes())

        loaded, history, archived = run_loop(read())
        order = loaded.order
        if as_json:
            attempts = {"attempts": order.copies, "cancel_attempts": order.cancels}
            print_json({**order_json(order), **attempts, "history": history_json(history), "archived": archived})
            return
        print_order(order)
        say("\nhistory (UTC)")
        if archived is not None:
            remark(f"earlier entries may be archived, in files up to {archived}: name the folder with --archive")
        print_history(history)


def _archived(order: Order, routes: Sequence[RouteInfo]) -> str | None:
    """Return the last file in which archived entries of an order may be."""
    archived = next((route.archived for route in routes if route.name == order.intent.venue), None)
    if archived is None or order.recorded_at_us // DAY_US > archived.day:
        return None
    return archived.file


def _at(price: Decimal | None) -> str:
    return "at the market" if price is None else f"at {plain(price)}"


def _of_terms(terms: Terms | Replacement) -> str:
    return f"{plain(terms.quantity)} {_at(terms.price)}, as {terms.client_order_id}"


def print_order(order: Order) -> None:
    """Print what was wanted of an order and where it stands, one fact on each line."""
    wanted, parked = order.intent, ", parked" if order.parked else ""
    shown = {
        "key": order.key,
        "wanted": f"{wanted.side} {plain(wanted.quantity)} {wanted.instrument} {_at(wanted.price)}, {wanted.time_in_force}",
        "parameters": wanted.parameters,
        "in force": None if order.in_force is None else _of_terms(order.in_force),
        "status": f"{order.status}{parked}, {plain(order.cum_quantity)} filled, {plain(order.leaves_quantity)} open",
        "reason": order.reason,
        "anomaly": order.anomaly,
        "account": order.intent.account,
        "strategy": order.intent.strategy,
        "venue": order.intent.venue,
        "client order id": order.client_order_id,
        "venue order id": order.venue_order_id,
        "cancel": "wanted" if order.cancel_wanted else None,
        "replace": None if order.replacement is None else f"wanted: {_of_terms(order.replacement)}",
        "recorded": moment(order.recorded_at_us),
        "may be sent until": moment(order.valid_until_us),
    }
    for name, value in shown.items():
        if value:
            say(f"{name:>17}  {value}")


def print_history(history: Iterable[JournalEntry], *, indent: str = "") -> None:
    """Print journal entries, each with its number and time, what happened in it on lines of their own."""
    for entry in history:
        happened_at = f"{indent}{entry.sequence:>7}  {moment(entry.at_us)}  "
        for said in told_events(entry.payload):
            say(happened_at + said)
            happened_at = " " * len(happened_at)


def told_events(payload: str) -> Iterator[str]:
    """Tell a journal entry's events, one line each."""
    hidden = {"type", "intent", "key", "venue_cum_quantity"}
    for event in msgspec.json.decode(payload):
        said = ", ".join(
            f"{name.removesuffix('_us').replace('_', ' ')} {moment(value) if name.endswith('_us') else value}"
            for name, value in event.items()
            if name not in hidden and value not in (None, "") and (name != "client_order_id" or _may_be_new(event))
        )
        name = event["type"].replace("_", " ")
        yield f"{name}: {said}" if said else name


def _may_be_new(event: dict[str, object]) -> bool:
    # Only a replace gives an order another id; elsewhere it is the one shown above.
    return str(event["type"]).startswith("replace")


async def find_key(store: BrowsableLedger, key: str, account: str | None, strategy: str | None) -> Loaded:
    """Return the one order with this key; people seldom know account and strategy. Raises NoSuchOrder or CallerError."""
    if account is not None and strategy is not None:
        exact = await store.by_key(account, strategy, key)
        found = [] if exact is None else [exact]
    else:
        found = [
            one
            for one in await store.matching_keys(key)
            if account in (None, one.order.intent.account) and strategy in (None, one.order.intent.strategy)
        ]
    if not found:
        where = "".join(
            f", {name} {value!r}" for name, value in (("account", account), ("strategy", strategy)) if value
        )
        raise NoSuchOrder(
            f"key {key!r}{where}: this ledger has no such order; nothing was changed. See `onefill orders`"
        )
    if len(found) > 1:
        scopes = ", ".join(f"{one.order.intent.account}/{one.order.intent.strategy}" for one in found)
        raise CallerError(
            f"key {key!r} was used by several (account/strategy): {scopes}. Nothing was changed; "
            "say which with --account and --strategy"
        )
    return found[0]


def positions(
    ledger: options.Ledger,
    recompute: Annotated[bool, typer.Option("--recompute", help="From every execution, not the projection.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show positions, computed from the execution log: quantity, average price, realised profit before fees, fees."""
    with told(as_json=as_json):

        async def read() -> list[Position]:
            async with open_for_reading(ledger) as store:
                if recompute:
                    return [one for info in await store.routes() for one in await rebuild(store, info.name)]
                return (await load_all(store)).positions()

        found = run_loop(read())
        if as_json:
            print_json([position_json(position) for position in found])
            return
        if not found:
            remark("no positions: nothing was executed")
            return
        columns = [
            ("account", "left"),
            ("strategy", "left"),
            ("venue", "left"),
            ("instrument", "left"),
            ("quantity", "right"),
            ("average price", "right"),
            ("realised", "right"),
            ("fees", "right"),
            ("bought", "right"),
            ("sold", "right"),
            ("fills", "right"),
        ]
        rows = [
            (
                p.account,
                p.strategy,
                p.venue,
                p.instrument,
                plain(p.quantity),
                "" if p.average_price is None else plain(p.average_price),
                plain(p.realised),
                ", ".join(f"{plain(amount)} {currency}" for currency, amount in p.fees),
                plain(p.bought),
                plain(p.sold),
                f"{p.executions:,}",
            )
            for p in found
        ]
        print_table("", columns, rows, spare=("sold", "bought", "fills", "venue"))


def position_json(p: Position) -> dict[str, object]:
    """Return a position as JSON values. The average price is rounded at 28 decimal places, ``null`` while it is flat."""
    return {
        "account": p.account,
        "strategy": p.strategy,
        "venue": p.venue,
        "instrument": p.instrument,
        "quantity": plain(p.quantity),
        "average_price": None if p.average_price is None else plain(p.average_price),
        "realised": plain(p.realised),
        "fees": {currency: plain(amount) for currency, amount in p.fees},
        "bought": plain(p.bought),
        "sold": plain(p.sold),
        "bought_value": plain(p.bought_value),
        "sold_value": plain(p.sold_value),
        "cost": plain(p.cost),
        "executions": p.executions,
    }
