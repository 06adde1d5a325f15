"""``onefill resolve``: a person says what became of an order whose fate no automatic step can find out."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import print_json, remark, say, told
from onefill.cli.person import person
from onefill.cli.read_commands import find_key, history_json, order_json, print_history
from onefill.core.audit import JournalEntry
from onefill.core.errors import InvalidField
from onefill.core.events import Verdict
from onefill.core.lifecycle import NEVER_SENT
from onefill.core.order import Order
from onefill.core.values import plain
from onefill.service import settings as settings_file
from onefill.service.control_socket_client import NotRunning, ask
from onefill.service.wiring import open_for_reading

_KIND = "resolved"
"""The journal's name for what a person decided."""


class Said(StrEnum):
    """What a person can say, as it is typed."""

    ADOPT = "adopt"
    NOT_SENT = "not-sent"
    ENDED = "ended"


_VERDICTS = {Said.ADOPT: Verdict.ADOPT, Said.NOT_SENT: Verdict.NOT_SENT, Said.ENDED: Verdict.ENDED}


def resolve(
    key: Annotated[str, typer.Argument(help="The order's key.")],
    said: Annotated[
        Said,
        typer.Argument(
            help="adopt: it is the venue's order VENUE_ORDER_ID; not-sent: nothing of it is there; ended: it was there, "
            "is over, and the venue has forgotten it."
        ),
    ],
    ledger: options.Ledger,
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")],
    venue: options.VenueUnlessRunning = None,
    venue_order_id: Annotated[str | None, typer.Argument(help="With adopt: the venue's number of the order.")] = None,
    by: Annotated[str | None, typer.Option(help="Who says so; else this system's user at this host.")] = None,
    account: options.Account = None,
    strategy: options.Strategy = None,
    timeout_s: options.TimeoutS = None,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Say what became of an order whose fate is open; `onefill uncertain` lists them with all evidence.

    The venue is asked first. What contradicts the evidence is refused with exit code 2; otherwise name and reason go into
    the audit log. not-sent ends the order: another try is a new order under a new key. ended ends one that is live here, with
    what is executed by now.
    """
    with told(as_json=as_json):
        if (said is Said.ADOPT) != (venue_order_id is not None):
            problem = (
                "adopt needs the venue's number of the order" if venue_order_id is None else "goes with adopt only"
            )
            raise InvalidField("VENUE_ORDER_ID", f"{problem}. Nothing was changed")
        configured = options.load_settings(settings)
        named = None if venue is None else settings_file.venue(configured, venue, timeout_s)
        who = by or person()

        async def work() -> tuple[Order, list[JournalEntry]]:
            async with open_for_reading(ledger) as store:
                intent = (await find_key(store, key, account, strategy)).order.intent
            word: dict[str, Any] = {
                "key": key,
                "account": intent.account,
                "strategy": intent.strategy,
                "verdict": _VERDICTS[said],
                "by": who,
                "reason": reason,
                "venue_order_id": venue_order_id,
            }
            try:
                await ask(ledger, "resolve", object, **word)
            except NotRunning:
                async with options.opened_for(ledger, key, intent, *options.needed(named), configured) as gateway:
                    await gateway.catch_up()  # what the venue has reported by now is evidence too
                    await gateway.resolve(**word)
            async with open_for_reading(ledger) as store:
                order = (await find_key(store, key, intent.account, intent.strategy)).order
                history = await store.history(order.intent_id)
            return order, [entry for entry in history if entry.kind == _KIND][-1:]

        order, recorded = run_loop(work())
        if as_json:
            print_json({**order_json(order), "resolution": history_json(recorded)[0]})
            return
        as_number = f" as {order.venue_order_id}" if order.venue_order_id and order.status not in NEVER_SENT else ""
        say(f"{key} is {order.status}{as_number}, {plain(order.cum_quantity)} filled\nrecorded (UTC)")
        print_history(recorded)
        if order.cancel_wanted:
            remark(f"it is still to be cancelled: `onefill cancel {key}` sees to that")
