"""``onefill status | freeze | release``, and the commands that a running gateway does in its own place."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli_kit import PATIENCE_S, Result, Venue, blotter, limit, onefill, started

from onefill.core.control import State
from onefill.core.incident import Finding, IncidentKind
from onefill.engine.offline import hold_route
from onefill.engine.settings import GatewaySettings
from onefill.service.control_offline import Overview
from onefill.service.wiring import SystemClock, open_to_sign

HOLDS = """
import asyncio, sys
from pathlib import Path
from onefill.cli import options
from onefill.service.settings import Settings
from onefill.service.venue_settings import VenueSettings

async def main(ledger, url, account):
    async with options.opened(Path(ledger), "exchange", VenueSettings(url=url), {account}, Settings()):
        print("open", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main(*sys.argv[1:]))
"""
"""A gateway that has a ledger until its standard input ends."""


@contextlib.contextmanager
def gateway(ledger: Path, venue: Venue, account: str) -> Iterator[None]:
    """Run a gateway in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(ledger), venue.url, account],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        try:
            yield
        finally:
            child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 0


@pytest.fixture
def used(tmp_path: Path, ledger: Path, exchange: Venue, account: str) -> Path:
    """Return a ledger with two orders that rest."""
    done = run(tmp_path, ledger, exchange, account, limit("a"), limit("b", "2"))
    assert done.code == 0, done
    return ledger


def run(folder: Path, ledger: Path, exchange: Venue, account: str, *lines: str) -> Result:
    """Run a file with these lines."""
    return onefill("run", blotter(folder, *lines), "--ledger", ledger, "--venue", exchange.url, "--account", account)


def state(ledger: Path) -> Any:
    """Return (running, overall state, the route's state, who put it there)."""
    seen = onefill("status", ledger, "--json").json
    (route,) = seen["routes"]
    return seen["running"], seen["state"], route["state"], route["by"]


def test_without_a_gateway_freeze_and_release_take_the_route_in_the_ledger(
    tmp_path: Path, used: Path, exchange: Venue, account: str
) -> None:
    """The next run is refused with the whole story and exit code 4, and goes on after the release; all of it in the log."""
    route = f"exchange:{account}"
    assert state(used) == (False, "normal", "normal", "onefill")
    done = onefill("freeze", used, route, "--reason", "odd fills", "--by", "ann")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{route} is SAFE since 2")
    assert done.out.endswith(", by ann: odd fills\n")
    assert state(used) == (False, "safe", "safe", "ann")
    refused = run(tmp_path, used, exchange, account, limit("c"))
    assert refused.code == 4
    assert f'onefill release LEDGER {route} --reason "..."' in refused.err
    assert len(exchange.orders(account)) == 2
    shown = onefill("status", used)
    assert shown.out.startswith("SAFE, by the ledger alone: no gateway runs\n")
    assert "reopened by  a person: onefill release LEDGER" in shown.out
    released = onefill("release", used, "--reason", "was nothing", "--by", "bob", "--json").json
    assert (released[route]["state"], released[route]["by"]) == ("degraded", "bob")
    assert run(tmp_path, used, exchange, account, limit("c")).code == 0
    assert len(exchange.orders(account)) == 3
    log = onefill("audit", "log", "--ledger", used, "--kind", "control_moved", "--json").json
    assert [event["by"] for entry in log for event in entry["events"] if event["type"] == "control_moved"][:2] == [
        "ann",
        "bob",
    ]


def test_beside_a_running_gateway_commands_are_done_by_it(used: Path, exchange: Venue, account: str) -> None:
    """Status, freeze, release, replace and cancel, none of which needs the venue's name then; exit codes as ever."""
    with gateway(used, exchange, account):
        assert state(used) == (True, "normal", "normal", "onefill")
        assert onefill("freeze", used, "--reason", "x", "--state", "dup_risk", "--by", "ann").code == 0
        assert state(used) == (True, "dup_risk", "dup_risk", "ann")
        more = onefill("replace", "b", "--quantity", "3", "--ledger", used)
        assert (more.code, "is DUP_RISK since" in more.err) == (4, True)
        told = onefill("replace", "b", "--quantity", "3", "--ledger", used, "--json")
        assert (told.code, told.json["kind"], told.json["exit_code"]) == (4, "RouteShut", 4)
        assert onefill("replace", "b", "--quantity", "1", "--ledger", used).out == "b is new, 1 at 100, 0 filled\n"
        assert onefill("cancel", "a", "--ledger", used).out == "a is canceled, 0 filled\n"
        assert onefill("cancel", "a", "--ledger", used).out == "nothing changed: a is canceled, 0 filled\n"
        contradicted = onefill("resolve", "a", "not-sent", "--ledger", used, "--reason", "x")
        assert (contradicted.code, "stays as it is: its fate is known" in contradicted.err) == (2, True)
        shown = onefill("status", used).out
        assert shown.startswith("DUP_RISK\n")
        assert "executions  read to " in shown
        assert onefill("release", used, "--reason", "fine").code == 0
        assert onefill("freeze", used, "--reason", " ").code == 2
        assert onefill("freeze", used, "nope", "--reason", "x").code == 2
    assert state(used)[:3] == (False, "degraded", "degraded")


def test_without_a_gateway_a_venue_has_to_be_named(used: Path) -> None:
    """Exit code 2, and why."""
    for command in (
        ("cancel", "a"),
        ("replace", "a", "--quantity", "2"),
        ("resolve", "a", "not-sent", "--reason", "x"),
    ):
        done = onefill(*command, "--ledger", used)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("error: --venue: is missing: no gateway runs that has this ledger")


def test_a_refused_release_says_what_comes_first(used: Path, account: str) -> None:
    """Exit code 2; with --force it is done and what it excuses is shown."""
    route = f"exchange:{account}"

    async def two_orders() -> None:
        async with open_to_sign(used) as store:
            held = await hold_route(route, store, SystemClock(), GatewaySettings(), "test")
            found = Finding(kind=IncidentKind.TWO_ORDERS, subject="x", summary="seen")
            await held.record_route_event(findings=(found,))
            await held.stop()

    asyncio.run(two_orders())
    assert onefill("freeze", used, "--reason", "x").code == 0
    done = onefill("release", used, route, "--reason", "fine")
    assert (done.code, done.out) == (2, "")
    assert "1 ids under which the venue has two orders" in done.err
    assert "First work through the incidents and close them" in done.err
    assert onefill("release", used, route, "--reason", "fine", "--json").json["kind"] == "ReleaseRefused"
    assert onefill("release", used, route, "--reason", "fine", "--force").code == 0
    assert "excused  1 two orders" in onefill("status", used).out


def test_a_ledger_that_is_none_is_told(tmp_path: Path) -> None:
    """Each command, with exit code 4, and no file is made."""
    for command in (("status",), ("freeze", "--reason", "x"), ("release", "--reason", "x")):
        done = onefill(command[0], tmp_path / "none.db", *command[1:])
        assert (done.code, done.out) == (4, "")
        assert "there is no such file" in done.err
    assert list(tmp_path.iterdir()) == []


def test_watch_goes_on_until_it_is_stopped(used: Path) -> None:
    """With --json one line each time."""
    with started("status", used, "--watch", "--json") as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(2)]
    assert [msgspec.json.decode(line, type=Overview).state for line in lines] == [State.NORMAL] * 2


@pytest.mark.parametrize("name", ["status", "freeze", "release"])
def test_help_fits_80_columns(name: str) -> None:
    """And says what each does."""
    done = onefill(name, "--help")
    assert (done.code, max(len(line) for line in done.out.splitlines()) <= 80) == (0, True)
