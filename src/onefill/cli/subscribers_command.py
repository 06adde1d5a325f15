"""``onefill subscribers``: who is told of what is committed, how far, of what not, and people's words on that."""

from typing import Annotated, Any

import msgspec
import typer
from typer.core import TyperGroup

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import print_json, print_table, remark, say, told
from onefill.cli.person import person
from onefill.cli.read_commands import moment
from onefill.engine.subscriptions import Resume, Rewind, StoppedOrder, SubscriberStatus
from onefill.service import subscribers as offline
from onefill.service.control_socket_client import NotRunning, ask
from onefill.service.uncertain import span
from onefill.service.wiring import SystemClock

_LIST = "list"


class _Listing(TyperGroup):
    """``onefill subscribers LEDGER`` is short for ``onefill subscribers list LEDGER``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command's name in front, unless one of its own, or help, is asked for."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = [_LIST, *args]
        return super().parse_args(ctx, args)


subscribers_app = typer.Typer(
    cls=_Listing, help="Subscribers: who is told of what is committed, and how far.", no_args_is_help=True
)
LedgerArgument = Annotated[str, typer.Argument(metavar="LEDGER", help="The ledger: a file, or a PostgreSQL URL.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The subscriber, as it is listed.")]
Route = Annotated[
    str | None, typer.Option("--route", help="The route, as it is listed; needed where there are several.")
]
By = Annotated[str | None, typer.Option(help="Who says so; else this system's user at this host.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit log.")]


@subscribers_app.command(_LIST)
def list_subscribers(ledger: LedgerArgument, route: Route = None, as_json: options.Json = False) -> None:
    """List who is told, how far behind each is, and which orders it is not told of.

    A running gateway is asked; without one the ledger tells what it knows.
    """
    with told(as_json=as_json):

        async def work() -> list[SubscriberStatus]:
            try:
                return await ask(ledger, "subscribers", list[SubscriberStatus], route=route)
            except NotRunning:
                return await offline.statuses(ledger, route)

        _tell(run_loop(work()), as_json=as_json)


@subscribers_app.command("retry")
def retry(
    ledger: LedgerArgument,
    name: Name,
    reason: Reason,
    order: Annotated[
        str | None,
        typer.Argument(metavar="[ORDER]", help="The order, as it is listed, or its key; else all that are stopped."),
    ] = None,
    route: Route = None,
    by: By = None,
    as_json: options.Json = False,
) -> None:
    """Tell a subscriber again of an order that was stopped, from the event on that it did not take.

    Without an order: of all that are stopped; one that wanted nothing more is asked again.
    """
    _resume(ledger, name, order, route, by, reason, skip=False, as_json=as_json)


@subscribers_app.command("skip")
def skip(
    ledger: LedgerArgument,
    name: Name,
    order: Annotated[str, typer.Argument(metavar="ORDER", help="The order, as it is listed, or its key.")],
    reason: Reason,
    route: Route = None,
    by: By = None,
    as_json: options.Json = False,
) -> None:
    """Leave out, for good, the event that a subscriber did not take, and tell it what comes behind."""
    _resume(ledger, name, order, route, by, reason, skip=True, as_json=as_json)


def _resume(
    ledger: str,
    name: str,
    order: str | None,
    route: str | None,
    by: str | None,
    reason: str,
    *,
    skip: bool,
    as_json: bool,
) -> None:
    with told(as_json=as_json):
        word = Resume(subscriber=name, order=order, skip=skip, by=by or person(), reason=reason)

        async def work() -> list[SubscriberStatus]:
            try:
                given = msgspec.structs.asdict(word)
                return await ask(ledger, "resume_subscriber", list[SubscriberStatus], route=route, **given)
            except NotRunning:
                return await offline.change(ledger, route, word)

        _tell(run_loop(work()), as_json=as_json)


@subscribers_app.command("rewind")
def rewind(
    ledger: LedgerArgument,
    name: Name,
    to: Annotated[
        str,
        typer.Option("--to", help="Tell what comes after this entry of the journal, or from this time on (ISO 8601)."),
    ],
    reason: Reason,
    route: Route = None,
    leave_out: Annotated[
        bool, typer.Option("--leave-out", help="Go there also if that is forward; what lies between is never told.")
    ] = False,
    by: By = None,
    as_json: options.Json = False,
) -> None:
    """Tell a subscriber once more what it was told, from an entry or time on; every event has the id that it had.

    Orders that are stopped stay so, at their own place.
    """
    with told(as_json=as_json):

        async def work() -> list[SubscriberStatus]:
            position = await offline.position_of(ledger, name, route, to)
            word = Rewind(subscriber=name, position=position, by=by or person(), reason=reason, leave_out=leave_out)
            try:
                given = msgspec.structs.asdict(word)
                return await ask(ledger, "rewind_subscriber", list[SubscriberStatus], route=route, **given)
            except NotRunning:
                return await offline.change(ledger, route, word)

        _tell(run_loop(work()), as_json=as_json)


# ---------------------------------------------------------------------- showing


def _tell(found: list[SubscriberStatus], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    if not found:
        remark("nobody was ever told of what this ledger has")
        return
    columns = [
        ("subscriber", "left"),
        ("route", "left"),
        ("told", "right"),
        ("of", "right"),
        ("behind", "right"),
        ("since (UTC)", "left"),
        ("stopped", "right"),
        ("stands", "left"),
    ]
    rows = [
        (
            one.subscriber,
            one.route,
            str(one.position),
            str(one.head),
            str(one.lag),
            "" if one.oldest_us is None else moment(one.oldest_us)[:19],
            str(len(one.stopped)),
            _stands(one),
        )
        for one in found
    ]
    print_table("", columns, rows, spare=("since (UTC)", "of"))
    for one in found:
        for order in one.stopped:
            say(_stopped_line(one, order))


def _stands(one: SubscriberStatus) -> str:
    for word, why in (("gone", one.gone), ("fails", one.problem), ("unavailable", one.unavailable)):
        if why is not None:
            return f"{word}: {why}"
    return "no gateway tells it" if one.told is None else "told"


def _stopped_line(one: SubscriberStatus, order: StoppedOrder) -> str:
    about = f"order {order.order}" if order.key is not None else f"route {order.order} itself"
    key = "" if order.key is None else f" (key {order.key})"
    if order.resumed:
        return f"{one.subscriber}: {about}{key} goes on, and catches up"
    since = "nothing behind it yet"
    if order.event_id is not None and order.at_us is not None:
        ago = span(SystemClock().now_us() - order.at_us)
        since = f"from event {order.event_id} on ({order.kind}, entry {order.sequence}, {ago} ago)"
    return f"{one.subscriber}: {about}{key} is not told, {since}; incident {order.incident}"
