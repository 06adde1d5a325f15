"""``onefill cancel``: make an order go away, and say what is true of it."""

import contextlib
from typing import Annotated

import msgspec
import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, print_json, say, told
from onefill.cli.read_commands import find_key
from onefill.core.answers import CancelAnswer, CancelResult
from onefill.service import settings as settings_file
from onefill.service.control_socket_client import NotRunning, ask
from onefill.service.wiring import open_for_reading


def cancel(
    key: Annotated[str, typer.Argument(help="The order's key.")],
    ledger: options.Ledger,
    venue: options.VenueUnlessRunning = None,
    account: options.Account = None,
    strategy: options.Strategy = None,
    wait_s: Annotated[float | None, typer.Option(help="Seconds to wait for the answer.", min=0.001)] = None,
    timeout_s: options.TimeoutS = None,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Cancel an order by its key. Cancelling what has ended changes nothing and says how it ended.

    A running gateway that has the ledger does it; otherwise the ledger is opened for it, and --venue is needed.
    """
    with told(as_json=as_json):
        configured = options.load_settings(settings)
        named = None if venue is None else settings_file.venue(configured, venue, timeout_s)

        async def work() -> CancelAnswer:
            async with open_for_reading(ledger) as store:
                intent = (await find_key(store, key, account, strategy)).order.intent
            order = {"key": key, "account": intent.account, "strategy": intent.strategy}
            with contextlib.suppress(NotRunning):
                return await ask(ledger, "cancel", CancelAnswer, **order, wait_s=wait_s)
            async with options.opened_for(ledger, key, intent, *options.needed(named), configured) as gateway:
                return await gateway.cancel(**order, wait_s=wait_s)

        answer = run_loop(work())
        if as_json:
            print_json(msgspec.to_builtins(answer))
        else:
            done = "" if answer.changed else "nothing changed: "
            why = f" ({answer.reason})" if answer.reason else ""
            say(f"{done}{key} is {answer.status}, {answer.cum_quantity} filled{why}")
        if answer.result is CancelResult.REFUSED:
            raise typer.Exit(ExitCode.SOME_REFUSED)
