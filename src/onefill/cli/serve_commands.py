"""``onefill exchange`` and ``onefill link``: a venue to practise on, and a network that loses things."""

import contextlib
import os
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO
from urllib.parse import urlsplit

import msgspec
import typer

from onefill.cli import options
from onefill.cli.loop import run_loop, told_to_end
from onefill.cli.output import print_json_line, remark, say, told
from onefill.core.capabilities import DuplicateReply, Lookup, ReplaceStyle, UniqueScope
from onefill.core.errors import CallerError, InvalidField, SettingsError, VenueError
from onefill.core.messages import VenueStatus
from onefill.core.values import Instrument, exact_decimal, positive_decimal

if TYPE_CHECKING:
    from onefill.sim.link_plan import LinkSettings

DEFAULT_INSTRUMENT = "BTC-USD:0.01:0.00000001"
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Scope = Annotated[UniqueScope, typer.Option(help="Among what a client order id is unique.")]
ReplacedAsCanceled = Annotated[
    bool, typer.Option("--replaced-as-canceled", help="With new_id: a replaced order shows as canceled.")
]
CancelByNumber = Annotated[
    bool, typer.Option("--cancel-by-number", help="A cancel must name the exchange's own order number.")
]
FeeRate = Annotated[str | None, typer.Option(help="Part of a trade's value that is paid for it; below zero a rebate.")]
ExecutionRevisions = Annotated[
    bool, typer.Option("--execution-revisions", help="Execution ids end in a revision, as .01.")
]
Holding = Annotated[
    list[str] | None, typer.Option(help="ACCOUNT:INSTRUMENT:QUANTITY held to begin with; below zero: short.")
]
Listed = Annotated[
    list[str] | None, typer.Option(help=f"SYMBOL:PRICE_TICK:QUANTITY_STEP. [default: {DEFAULT_INSTRUMENT}]")
]

Imitated = Annotated[
    str | None, typer.Option("--imitate", metavar="VENUE", help="Answer as this real venue does, such as binance_spot.")
]
_WITH_IMITATE = frozenset({"imitate", "host", "port", "matching", "as_json"})


def parse_instrument(text: str) -> Instrument:
    """Return the instrument that ``SYMBOL:PRICE_TICK:QUANTITY_STEP`` names. Raises InvalidField."""
    parts = text.split(":")
    if len(parts) != 3:
        raise InvalidField(
            "--instrument", f"{text!r} is not SYMBOL:PRICE_TICK:QUANTITY_STEP, such as {DEFAULT_INSTRUMENT}"
        )
    step = positive_decimal(parts[2], "--instrument, quantity step")
    tick = positive_decimal(parts[1], "--instrument, price tick")
    return Instrument(symbol=parts[0], price_tick=tick, quantity_step=step, min_quantity=step)


def parse_holdings(texts: list[str]) -> dict[str, dict[str, Decimal]]:
    """Return what accounts hold, each given as ``ACCOUNT:INSTRUMENT:QUANTITY``. Raises InvalidField."""
    found: dict[str, dict[str, Decimal]] = {}
    for text in texts:
        account, _, rest = text.partition(":")
        instrument, _, quantity = rest.rpartition(":")
        if not (account and instrument):
            raise InvalidField("--holding", f"{text!r} is not ACCOUNT:INSTRUMENT:QUANTITY, such as A:BTC-USD:-2")
        if instrument in found.setdefault(account, {}):
            raise InvalidField("--holding", f"{instrument!r} of account {account!r} is given twice")
        found[account][instrument] = exact_decimal(quantity, "--holding")
    return found


def exchange(
    context: typer.Context,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free port.", min=0, max=65535)] = 8700,
    unique_scope: Scope = UniqueScope.EVER,
    duplicate_reply: Annotated[DuplicateReply, typer.Option(help="What a repeat gets.")] = DuplicateReply.ERROR,
    lookup: Annotated[Lookup, typer.Option(help="How an order is found by its client order id.")] = Lookup.DIRECT,
    replace: Annotated[ReplaceStyle, typer.Option(help="What a replace does to the order's id.")] = ReplaceStyle.KEEP,
    replaced_as_canceled: ReplacedAsCanceled = False,
    cancel_by_number: CancelByNumber = False,
    request_expiry_s: Annotated[float, typer.Option(help="Request expiry to suggest; 0 honours none.", min=0)] = 2.0,
    conclusive_after_s: Annotated[float, typer.Option(help="When not-found is conclusive; 0: never.", min=0)] = 5.0,
    forgets_after_s: Annotated[float, typer.Option(help="How long ended orders are shown; 0: for ever.", min=0)] = 0.0,
    asynchronous: Annotated[bool, typer.Option("--asynchronous", help="Acknowledge first, decide later.")] = False,
    matching: Annotated[bool, typer.Option(help="Match orders, or let all rest.")] = True,
    fee_rate: FeeRate = None,
    fee_currency: Annotated[str, typer.Option(help="What fees are paid in.")] = "USD",
    no_execution_ids: Annotated[bool, typer.Option("--no-execution-ids", help="Reports have none.")] = False,
    totals_only: Annotated[bool, typer.Option("--totals-only", help="Tell totals, no single executions.")] = False,
    execution_revisions: ExecutionRevisions = False,
    drop_copy: Annotated[bool, typer.Option("--drop-copy", help="Tell executions by a second stream too.")] = False,
    lists_open_orders: Annotated[bool, typer.Option(help="Whether open orders can be listed.")] = True,
    tells_positions: Annotated[bool, typer.Option(help="Whether positions can be asked for.")] = True,
    holding: Holding = None,
    instrument: Listed = None,
    imitate: Imitated = None,
    as_json: options.Json = False,
) -> None:
    """Run a simulated exchange: HTTP for orders, WebSocket for execution reports with replay from a cursor.

    It keeps its orders in memory: another start is another exchange, so begin with another ledger then. With --json the
    first line of output is {"listening": URL}. With --imitate it speaks a real venue's own API, for ccxt.
    """
    with told(as_json=as_json):
        if imitate is not None:
            _refuse_others(context)
            serving = _imitation(imitate, host, port, matching=matching, as_json=as_json)
            run_loop(_serve(serving, host, "exchange", as_json=as_json))
            return
        habits = {
            "unique_scope": unique_scope,
            "duplicate_reply": duplicate_reply,
            "lookup": lookup,
            "replace": replace,
            "replaced_shows_as": VenueStatus.CANCELED if replaced_as_canceled else VenueStatus.REPLACED,
            "cancel_by_client_order_id": not cancel_by_number,
            "request_expiry": request_expiry_s > 0,
            "request_expiry_s": request_expiry_s or 2.0,
            "conclusive_after_s": conclusive_after_s or None,
            "lookup_forgets_after_s": forgets_after_s or None,
            "acknowledges_asynchronously": asynchronous,
            "matching": matching,
            "fee_rate": None if fee_rate is None else exact_decimal(fee_rate, "--fee-rate"),
            "fee_currency": fee_currency,
            "execution_ids": "none" if no_execution_ids else "given",
            "cumulative_fills_only": totals_only,
            "execution_revisions": execution_revisions,
            "drop_copy": drop_copy,
            "lists_open_orders": lists_open_orders,
            "tells_positions": tells_positions,
        }
        instruments = [parse_instrument(text) for text in instrument or [DEFAULT_INSTRUMENT]]
        serving = _exchange(habits, instruments, parse_holdings(holding or []), host, port)
        run_loop(_serve(serving, host, "exchange", as_json=as_json))


def _refuse_others(context: typer.Context) -> None:
    """Raise InvalidField for an option that an imitation does not take: its habits are those of the venue."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if name not in _WITH_IMITATE and source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            raise InvalidField(option, "does not go with --imitate, which behaves as the venue does")


@contextlib.asynccontextmanager
async def _imitation(name: str, host: str, port: int, *, matching: bool, as_json: bool) -> AsyncIterator[int]:
    from onefill.gameday import ccxt_settings  # noqa: PLC0415 - other commands need no server
    from onefill.sim.imitations.known import IMITATIONS  # noqa: PLC0415

    kind = IMITATIONS.get(name)
    if kind is None:
        raise InvalidField("--imitate", f"{name!r} is not imitated; there are: {', '.join(sorted(IMITATIONS))}")
    server = kind(dialect=msgspec.structs.replace(kind.dialect, matching=matching))
    bound = await _listen(server.start(host, port), host, port)
    if not as_json:
        remark("settings that reach it, and its credentials:")
        remark(ccxt_settings.toml({"venues": {name: ccxt_settings.venue_table(kind, server.url, "IMITATION")}}))
        for variable, value in ccxt_settings.environment(kind, "IMITATION").items():
            remark(f"export {variable}={shlex.quote(value)}")
    try:
        yield bound
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def _exchange(
    habits: dict[str, Any],
    instruments: list[Instrument],
    holdings: dict[str, dict[str, Decimal]],
    host: str,
    port: int,
) -> AsyncIterator[int]:
    from onefill.sim.dialect import Dialect  # noqa: PLC0415 - other commands need no server
    from onefill.sim.exchange import Exchange  # noqa: PLC0415
    from onefill.sim.exchange_server import ExchangeServer  # noqa: PLC0415

    server = ExchangeServer(Exchange(Dialect(**habits), instruments, holdings))
    bound = await _listen(server.start(host, port), host, port)
    try:
        yield bound
    finally:
        await server.close()


def link(
    upstream: Annotated[str, typer.Option(help="The venue behind the link: http://host:port or host:port.")],
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free port.", min=0, max=65535)] = 8701,
    faults: Annotated[str, typer.Option(help="calm, rough, storm, or a TOML file of link settings.")] = "rough",
    seed: Annotated[int, typer.Option(help="The same seed hurts the same requests.", min=0)] = 0,
    raw: Annotated[bool, typer.Option("--raw", help="Any protocol over TCP instead of HTTP.")] = False,
    trace: Annotated[Path | None, typer.Option(help="Write each fault here, as JSON lines.", dir_okay=False)] = None,
    as_json: options.Json = False,
) -> None:
    """Run a faulty link: a proxy that refuses, swallows, delays, cuts, doubles and reorders, by a seed.

    With --json the first line of output is {"listening": URL}, the last one counts what it did.
    """
    from onefill.sim.link import FaultyLink, trace_to  # noqa: PLC0415 - other commands need no server

    with told(as_json=as_json):
        upstream_host, upstream_port = _address(upstream)
        settings = _link_settings(faults, seed)

        @contextlib.asynccontextmanager
        async def serving() -> AsyncIterator[int]:
            with contextlib.ExitStack() as stack:
                file = None if trace is None else stack.enter_context(_writable(trace))
                proxy = FaultyLink(
                    upstream_host,
                    upstream_port,
                    settings,
                    protocol="raw" if raw else "http",
                    on_fault=None if file is None else trace_to(file),
                )
                bound = await _listen(proxy.start(host, port), host, port)
                try:
                    yield bound
                finally:
                    await proxy.close()
                    if as_json:
                        print_json_line(proxy.counts.as_dict())
                    else:
                        remark(f"{proxy.counts.requests:,} requests passed")

        run_loop(_serve(serving(), host, "link", as_json=as_json))


def _writable(path: Path) -> BinaryIO:
    try:
        return path.open("wb")
    except OSError as error:
        raise CallerError(f"--trace {path}: cannot be written: {error.strerror}") from error


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(text if "//" in text else f"//{text}")
    try:
        if parts.hostname and parts.port:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise InvalidField("--upstream", f"{text!r} is not http://host:port or host:port")


def _link_settings(faults: str, seed: int) -> "LinkSettings":
    from onefill.sim.link_plan import PRESETS, preset, read_settings  # noqa: PLC0415

    path = Path(faults)
    if path.suffix != ".toml":
        if faults not in PRESETS:
            raise InvalidField("--faults", f"{faults!r} is none of: {', '.join(PRESETS)}, nor a file ending in .toml")
        return preset(faults, seed)
    try:
        data = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"--faults {path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"--faults {path}: is not TOML: {error}") from error
    try:
        return read_settings({"seed": seed, **data} if isinstance(data, dict) else data)
    except InvalidField as error:
        raise SettingsError(f"--faults {path}: {error}") from None


async def _listen(start: Awaitable[int], host: str, port: int) -> int:
    try:
        return await start
    except OSError as error:
        raise VenueError(
            f"cannot listen on {host}:{port}: {_reason(error)}. Choose another --host or --port"
        ) from error


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


async def _serve(serving: contextlib.AbstractAsyncContextManager[int], host: str, what: str, *, as_json: bool) -> None:
    """Serve until the process is told to end."""
    ended = told_to_end()
    async with serving as port:
        url = f"http://{host}:{port}"
        if as_json:
            print_json_line({"listening": url})
        else:
            say(f"{what} listening on {url}; Ctrl-C ends it")
            sys.stdout.flush()
        await ended.wait()
