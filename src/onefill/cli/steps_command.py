"""``onefill steps``: how far a process of the user's own has come."""

from typing import Annotated

import msgspec
import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import print_json, print_table, told
from onefill.cli.read_commands import moment
from onefill.core import once, values
from onefill.core.errors import CallerError
from onefill.ports.ledger import StepRecord
from onefill.service.ledgers import shown
from onefill.service.wiring import open_for_reading


class NoSuchProcess(CallerError):
    """The ledger has no step under this key."""


def steps(
    key: Annotated[str, typer.Argument(help="The process's key.")],
    ledger: options.Ledger,
    as_json: options.Json = False,
) -> None:
    """Show the steps of a process that was run with gateway.once: which are done, with what result, and which are open.

    An open one was begun and has not ended: it runs now, or it failed, or its process died; it may have had its effect.
    """
    with told(as_json=as_json):
        values.caller_key(key)

        async def read() -> list[tuple[str, StepRecord]]:
            async with open_for_reading(ledger) as store:
                return [
                    (route.name, one) for route in await store.routes() for one in await store.steps(route.name, key)
                ]

        found = run_loop(read())
        if not found:
            raise NoSuchProcess(f"no step was ever begun under {key!r} in {shown(ledger)}")
        if as_json:
            print_json([_json(route, one) for route, one in found])
            return
        columns = [
            ("step", "left"),
            ("state", "left"),
            ("attempts", "right"),
            ("begun (UTC)", "left"),
            ("done (UTC)", "left"),
            ("result", "left"),
            ("route", "left"),
        ]
        print_table("", columns, [_row(route, one) for route, one in found], spare=("route", "begun (UTC)"))


def _state(one: StepRecord) -> tuple[str, bytes]:
    """Return how a step stands, and the JSON of what came of it."""
    if one.result is None:
        return "open", b"null"
    outcome = once.read_outcome(one.result)
    if outcome.error is not None:
        return "failed", msgspec.json.encode(outcome.error)
    return "done", bytes(outcome.result)


def _json(route: str, one: StepRecord) -> dict[str, object]:
    state, result = _state(one)
    return {
        "key": one.key,
        "step": one.step,
        "route": route,
        "state": state,
        "attempts": one.attempt,
        "begun_at_us": one.begun_at_us,
        "done_at_us": one.done_at_us,
        "idempotency_key": once.idempotency_key(route, one.key, one.step),
        "arguments_sha256": one.arguments or None,
        "result": msgspec.Raw(result),
    }


def _row(route: str, one: StepRecord) -> tuple[str, ...]:
    state, result = _state(one)
    done = "" if one.done_at_us is None else moment(one.done_at_us)
    shown = "" if one.result is None else result.decode()
    return one.step, state, str(one.attempt), moment(one.begun_at_us), done, shown, route
