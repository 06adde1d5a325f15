"""``onefill replace``: give a live order other quantity or price, and say what is true of it."""

import contextlib
from typing import Annotated, Any

import msgspec
import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, print_json, say, told
from onefill.cli.read_commands import find_key
from onefill.core.answers import ReplaceAnswer, ReplaceResult
from onefill.service import settings as settings_file
from onefill.service.control_socket_client import NotRunning, ask
from onefill.service.wiring import open_for_reading


def replace(
    key: Annotated[str, typer.Argument(help="The order's key.")],
    ledger: options.Ledger,
    venue: options.VenueUnlessRunning = None,
    quantity: Annotated[str | None, typer.Option(help="The whole quantity, what is executed counted in.")] = None,
    price: Annotated[str | None, typer.Option(help="The limit price.")] = None,
    operation_key: Annotated[
        str | None, typer.Option(help="A key of this replace's own: every repeat gets the first one's answer.")
    ] = None,
    account: options.Account = None,
    strategy: options.Strategy = None,
    wait_s: options.WaitS = None,
    timeout_s: options.TimeoutS = None,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Give an order other quantity or price. An order that has them already is left as it is, and that is said.

    What is left out stays. Exit codes: 0 the order is as wanted, 1 refused or too late, 3 not known yet: run it again.
    """
    with told(as_json=as_json):
        configured = options.load_settings(settings)
        named = None if venue is None else settings_file.venue(configured, venue, timeout_s)

        async def work() -> ReplaceAnswer:
            async with open_for_reading(ledger) as store:
                intent = (await find_key(store, key, account, strategy)).order.intent
            wish: dict[str, Any] = {
                "key": key,
                "account": intent.account,
                "strategy": intent.strategy,
                "quantity": quantity,
                "price": price,
                "operation_key": operation_key,
                "wait_s": wait_s,
            }
            with contextlib.suppress(NotRunning):
                return await ask(ledger, "replace", ReplaceAnswer, **wish)
            async with options.opened_for(ledger, key, intent, *options.needed(named), configured) as gateway:
                return await gateway.replace(**wish)

        answer = run_loop(work())
        if as_json:
            print_json(msgspec.to_builtins(answer))
        else:
            say(_told(answer))
        if answer.result is not ReplaceResult.REPLACED:
            raise typer.Exit(ExitCode.SOME_REFUSED)


def _told(answer: ReplaceAnswer) -> str:
    if answer.result is ReplaceResult.UNKNOWN_KEY:
        return f"nothing changed: {answer.reason}"
    begin = "" if answer.changed else "nothing changed: "
    if answer.result is not ReplaceResult.REPLACED:
        begin = "not replaced: "
    at = "" if answer.price is None else f" at {answer.price}"
    why = f" ({answer.reason})" if answer.reason else ""
    return f"{begin}{answer.key} is {answer.status}, {answer.quantity}{at}, {answer.cum_quantity} filled{why}"
