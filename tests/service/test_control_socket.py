"""The control socket: commands reach a running gateway, and nothing that comes in can hurt it."""

import asyncio
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from onefill.core.answers import CancelAnswer, ReplaceAnswer
from onefill.core.control import Control, State
from onefill.core.errors import CallerError, ContradictsEvidence, LedgerError, OrderUncertain, RouteClosed
from onefill.core.incident import Finding, IncidentKind
from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.values import Instrument
from onefill.engine.controller import ControlPlan, GatewayStatus
from onefill.engine.gateway import Gateway
from onefill.service import control_offline as offline
from onefill.service.control_socket import MOST_BYTES, MOST_CONNECTIONS, address, bind
from onefill.service.control_socket_client import Link, NotRunning, ask, told
from onefill.service.control_socket_commands import CATEGORIES, COMMANDS, failed
from onefill.service.wiring import open_gateway
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.exchange_server import ExchangeServer
from onefill.venues.exchange_client import ExchangeVenue

ORDER = {"key": "k", "account": "main", "strategy": "s"}
ANN = {"by": "ann", "reason": "looks odd"}
STEP = Decimal("0.01")


INTENT = Intent(
    account="main", strategy="s", instrument="BTC-USD", side="buy", quantity=2, price=100, time_in_force="gtc"
)


def running(
    ledger: Path,
    work: Callable[[Gateway], Awaitable[None]],
    alone: Callable[[], Awaitable[None]] | None = None,
    again: Callable[[Gateway], Awaitable[None]] | None = None,
) -> None:
    """Do something beside a gateway that has a ledger, with one order resting at its venue; then without one; then again."""

    async def beside(port: int, work: Callable[[Gateway], Awaitable[None]]) -> None:
        venue = ExchangeVenue(f"http://127.0.0.1:{port}", "main")
        async with open_gateway(ledger, venues={"sim": venue}) as gateway:
            await gateway.submit(INTENT, key="k")
            await work(gateway)
            assert gateway.failure() is None

    async def main() -> None:
        instrument = Instrument(symbol="BTC-USD", price_tick=STEP, quantity_step=STEP, min_quantity=STEP)
        server = ExchangeServer(Exchange(Dialect(), [instrument]))
        port = await server.start()
        try:
            await beside(port, work)
            if alone is not None:
                await alone()
            if again is not None:
                await beside(port, again)
        finally:
            await server.close()

    asyncio.run(main())


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Return a place for a ledger."""
    return tmp_path / "orders.db"


async def raw(ledger: Path, *data: bytes) -> bytes:
    """Send bytes as they are and return what comes back until the other end is done."""
    reader, writer = await asyncio.open_unix_connection(str(address(ledger)), limit=4 * MOST_BYTES)
    try:
        for one in data:
            writer.write(one)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()


def test_commands_reach_the_running_gateway(ledger: Path) -> None:
    """Status, freeze, release, replace, cancel, incidents, reconcile, and the runbook: each does what the method does."""

    async def work(gateway: Gateway) -> None:
        async with Link(ledger) as link:
            status = await link.ask("status", GatewayStatus)
            assert (status.state, status.routes[0].open_orders) == (State.NORMAL, 1)
            after = await link.ask("freeze", dict[str, Control], route="sim", state="dup_risk", **ANN)
            assert after["sim"] == gateway._routes["sim"].control
            assert gateway.status().state is State.DUP_RISK
            replaced = await link.ask("replace", ReplaceAnswer, quantity="1", **ORDER)
            assert (replaced.quantity, replaced.status) == ("1", Status.NEW)
            (incident,) = await link.ask("incidents", list[dict[str, Any]])
            assert incident["summary"] == "the route is DUP_RISK: looks odd"
            done = await link.ask("step", dict[str, Any], name="sim-1", step="freeze", by="ann", note="was done")
            assert done["incident"]["steps"][0]["by"] == "ann"
            closed = await link.ask("resolve_incident", dict[str, Any], name="sim-1", force=True, **ANN)
            assert closed["resolved_by"] == "ann"
            assert [one["route"] for one in await link.ask("reconcile", list[dict[str, Any]])] == ["sim"]
            canceled = await link.ask("cancel", CancelAnswer, **ORDER)
            assert canceled.status is Status.CANCELED
            await link.ask("release", dict[str, Control], **ANN)
            assert gateway.status().state is State.DEGRADED

    running(ledger, work)


def test_errors_come_back_as_what_they_were(ledger: Path) -> None:
    """By name, and of a kind that a command's exit code follows from."""

    async def work(_gateway: Gateway) -> None:
        async with Link(ledger) as link:
            with pytest.raises(CallerError) as unknown:
                await link.ask("cancel", CancelAnswer, key="x", account="main", strategy="s")
            assert type(unknown.value).__name__ == "UnknownKey"
            assert "no order under key 'x'" in str(unknown.value)
            with pytest.raises(ContradictsEvidence) as contradicts:
                await link.ask("resolve", object, verdict="not_sent", **ORDER, **ANN)
            assert contradicts.value.evidence
            with pytest.raises(CallerError, match="a freeze never opens"):
                await link.ask("freeze", object, state="normal", route="sim", **ANN)

    running(ledger, work)


@pytest.mark.parametrize("name", CATEGORIES)
def test_every_category_keeps_its_name_and_kind(name: str) -> None:
    """Whatever the exception's own arguments are."""
    base = CATEGORIES[name]
    error = type("Named", (base,), {"__init__": Exception.__init__})("why")
    if isinstance(error, ContradictsEvidence):
        error.evidence = "seen"
    back = told(failed(error))
    assert isinstance(back, base)
    assert (type(back).__name__, str(back)) == ("Named", "why")
    assert isinstance(told(failed(OrderUncertain("k", "c", "lost"))), OrderUncertain)
    assert isinstance(told(failed(LedgerError("x"))), LedgerError)


BAD = [
    b"\n",
    b"nonsense\n",
    b"[]\n",
    b'{"command": 3}\n',
    b'{"command": "nope"}\n',
    b'{"command": "__init__"}\n',
    b'{"command": "status", "more": 1}\n',
    b'{"command": "status", "arguments": {"x": 1}}\n',
    b'{"command": "status", "arguments": 3}\n',
    b'{"command": "freeze", "arguments": {"by": 1, "reason": "x"}}\n',
    b'{"command": "freeze", "arguments": {"by": "a", "reason": "x", "state": "open"}}\n',
    b'{"command": "freeze", "arguments": {"by": "a", "reason": "x\\ud800"}}\n',
    b'{"command": "cancel", "arguments": {}}\n',
    b'{"command": "cancel", "arguments": {"key": "k", "account": "main", "strategy": "s", "wait_s": -1}}\n',
    b'{"command": "step", "arguments": {"name": "../x", "step": "?", "by": "a"}}\n',
    b'{"command": "reconcile", "arguments": {"route": "nope"}}\n',
    b"\xff\xfe\x00\n",
    b"[" * 100_000 + b"\n",
]


def test_bad_input_is_answered_and_hurts_nothing(ledger: Path) -> None:
    """Each line gets one reply that says what is wrong, on one connection; then a good one is answered."""

    async def work(gateway: Gateway) -> None:
        replies = [msgspec.json.decode(line) for line in (await raw(ledger, *BAD)).splitlines()]
        assert len(replies) == len(BAD)
        assert not any(one["ok"] for one in replies)
        assert {one["category"] for one in replies} == {"caller"}
        assert all(one["error"] for one in replies)
        assert (await ask(ledger, "status", GatewayStatus)).state is State.NORMAL
        assert gateway.status().state is State.NORMAL

    running(ledger, work)


def test_a_line_that_never_ends_and_one_that_is_cut_off(ledger: Path) -> None:
    """Too long: told, and the connection ends. Cut off, or nothing at all: it just ends."""

    async def work(_gateway: Gateway) -> None:
        reply = msgspec.json.decode(await raw(ledger, b"x" * (MOST_BYTES + 100_000)))
        assert (reply["ok"], "longer than 1048576 bytes" in reply["error"]) == (False, True)
        assert await raw(ledger, b'{"command": "sta') == b""
        assert await raw(ledger) == b""
        reader, writer = await asyncio.open_unix_connection(str(address(ledger)))
        writer.write(b'{"command": "reconcile"}\n')
        writer.close()  # gone before the answer
        del reader
        assert (await ask(ledger, "status", GatewayStatus)).state is State.NORMAL

    running(ledger, work)


def test_too_many_connections_are_turned_away(ledger: Path) -> None:
    """Those that are open go on; once they are closed others get in."""

    async def work(_gateway: Gateway) -> None:
        links = [Link(ledger) for _ in range(MOST_CONNECTIONS)]
        for link in links:
            await link.__aenter__()
            await link.ask("status", GatewayStatus)
        with pytest.raises(RouteClosed, match="went away before it answered"):
            await ask(ledger, "status", GatewayStatus)
        await links[0].ask("status", GatewayStatus)
        for link in links:
            await link.__aexit__()
        while True:
            try:
                await ask(ledger, "status", GatewayStatus)
            except RouteClosed:
                continue
            break

    running(ledger, work)


def test_the_socket_is_its_owners_alone_and_goes_with_the_gateway(ledger: Path) -> None:
    """Mode 0600 while it runs; afterwards nothing listens, and nothing is left."""

    async def work(_gateway: Gateway) -> None:
        found = address(ledger).lstat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o600
        link = ledger.with_name("linked.db")
        link.symlink_to(ledger)
        assert address(link) == address(ledger)
        assert (await ask(link, "status", GatewayStatus)).state is State.NORMAL

    running(ledger, work)
    assert not address(ledger).exists()
    with pytest.raises(NotRunning):
        asyncio.run(ask(ledger, "status", GatewayStatus))


def test_a_waiting_connection_does_not_hold_up_the_close(ledger: Path) -> None:
    """It is ended from here."""
    with socket.socket(socket.AF_UNIX) as other:

        async def work(_gateway: Gateway) -> None:
            other.connect(str(address(ledger)))
            await ask(ledger, "status", GatewayStatus)

        running(ledger, work)
        other.settimeout(5)
        assert other.recv(1) == b""


def test_a_socket_of_a_process_that_is_gone_is_replaced(tmp_path: Path) -> None:
    """One that somebody listens on is not, nor is anything that is no socket."""
    path = tmp_path / "x.control"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    made = bind(path)
    made.listen()
    with pytest.raises(OSError, match="another process listens there"):
        bind(path)
    made.close()
    path.unlink()
    path.write_text("precious")
    with pytest.raises(OSError, match="something else has that name"):
        bind(path)
    assert path.read_text() == "precious"


def test_a_gateway_that_cannot_listen_runs_all_the_same(ledger: Path) -> None:
    """Orders go on; commands find nobody."""
    address(ledger).write_text("in the way")

    async def work(gateway: Gateway) -> None:
        with pytest.raises(NotRunning):
            await ask(ledger, "status", GatewayStatus)
        assert gateway.status().state is State.NORMAL

    running(ledger, work)
    assert address(ledger).read_text() == "in the way"


def test_a_path_that_is_too_long_for_a_socket_is_heard_elsewhere(tmp_path: Path) -> None:
    """In a folder of this user alone; both ends find it by the ledger's name."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    ledger = folder / "orders.db"
    path = address(ledger)
    assert len(os.fsencode(path)) <= 100
    assert path.parent == Path(f"/tmp/onefill-{os.getuid()}")  # noqa: S108

    async def work(_gateway: Gateway) -> None:
        assert (await ask(ledger, "status", GatewayStatus)).state is State.NORMAL
        assert stat.S_IMODE(path.parent.lstat().st_mode) == 0o700

    running(ledger, work)
    assert not path.exists()


def test_without_a_gateway_the_ledger_is_moved_itself(ledger: Path) -> None:
    """Freeze and release take the route in the ledger; what waits there counts, and the next gateway finds it so."""

    async def nothing(_gateway: Gateway) -> None:
        """Leave it as it is."""

    async def alone() -> None:
        before = await offline.status(ledger)
        assert (before.state, before.routes[0].open_orders, before.routes[0].readings) == (State.NORMAL, 1, None)
        assert await offline.freeze(ledger, None, state=State.SAFE, **ANN)
        assert await offline.freeze(ledger, None, state=State.DEGRADED, **ANN) == {}
        after = await offline.status(ledger)
        assert (after.state, after.routes[0].by, after.routes[0].open_incidents) == (State.SAFE, "ann", 1)
        with pytest.raises(CallerError, match="'nope' is no route of this ledger"):
            await offline.freeze(ledger, "nope", state=State.SAFE, **ANN)

    async def frozen(gateway: Gateway) -> None:
        assert gateway.status().state is State.SAFE
        with pytest.raises(RouteClosed, match="is SAFE since"):
            await gateway.submit(INTENT, key="new")

    running(ledger, nothing, alone, frozen)


@pytest.mark.parametrize("force", [False, True])
def test_without_a_gateway_a_release_is_judged_by_the_ledger(ledger: Path, force: bool) -> None:
    """Refused while an open incident stands for what shut it, unless it is forced."""

    async def two_orders(gateway: Gateway) -> None:
        found = Finding(kind=IncidentKind.TWO_ORDERS, subject="x", summary="seen")
        await gateway._routes["sim"].record_route_event(findings=(found,))
        await gateway.freeze(**ANN)

    async def alone() -> None:
        word: dict[str, Any] = {"force": force, **ANN}
        if not force:
            with pytest.raises(CallerError, match="has two orders"):
                await offline.release(ledger, "sim", ControlPlan(), **word)
            assert (await offline.status(ledger)).state is State.SAFE
            return
        after = await offline.release(ledger, None, ControlPlan(), **word)
        assert (after["sim"].state, after["sim"].excused) == (State.DEGRADED, {"two_orders": 1})
        assert (await offline.status(ledger)).state is State.DEGRADED

    running(ledger, two_orders, alone)


def test_every_command_names_a_method_that_is_there() -> None:
    """A name that is mistyped would only be met when it is asked for."""
    names = {"status", "freeze", "release", "cancel", "replace", "resolve", "reconcile", "accept_position", "incidents"}
    names |= {"step", "resolve_incident", "subscribers", "resume_subscriber", "rewind_subscriber"}
    assert set(COMMANDS) == names
    for name in COMMANDS:
        assert callable(getattr(Gateway, name))
