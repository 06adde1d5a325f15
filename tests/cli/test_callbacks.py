"""Callbacks from the real exchange's process: signed, doubled, out of order, to processes that are killed meanwhile."""

import asyncio
import base64
import contextlib
import signal
import socket
import sqlite3
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli_kit import PATIENCE_S, Venue, address, blotter, limit, onefill, process, serve, started

import onefill as package
from onefill.core.inbox import standard_headers
from onefill.core.messages import ExecutionReport
from onefill.service.callback_settings import CallbackPlan, CallbackSettings

KEY = b"the exchange's and ours alone..."
SECRET = "whsec_" + base64.b64encode(KEY).decode()
BTC = "BTC-USD:0.01:0.00000001"


class Market(Venue):
    """An exchange that matches, and tells by callbacks."""

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Post something, and return the answer."""
        request = urllib.request.Request(self.url + path, msgspec.json.encode(body), method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:  # noqa: S310 - our own exchange
            return msgspec.json.decode(reply.read())

    def call_back(self, account: str, url: str, **how: Any) -> None:
        """Have an account's callbacks sent there."""
        self.post("/v1/admin/callbacks", {"account": account, "url": url, "secret": SECRET, **how})

    def counts(self, account: str) -> dict[str, int]:
        """Return what became of them."""
        found: dict[str, int] = self._get(f"/v1/admin/callbacks?account={account}", dict[str, int])
        return found

    def wait_for(self, account: str, **least: int) -> dict[str, int]:
        """Return the counts once they have come so far. ``waiting`` counts down."""
        end = time.monotonic() + PATIENCE_S
        while True:
            found = self.counts(account)
            if all(found[name] <= want if name == "waiting" else found[name] >= want for name, want in least.items()):
                return found
            assert time.monotonic() < end, f"{found} never came to {least}"

    def sell(self, number: int, quantity: str) -> None:
        """Somebody else sells."""
        self.post(
            "/v1/orders",
            {
                "client_order_id": f"m{number}",
                "account": "maker",
                "instrument": "BTC-USD",
                "side": "sell",
                "quantity": quantity,
                "order_type": "limit",
                "price": "100",
                "time_in_force": "ioc",
                "expires_at_us": None,
            },
        )

    def held(self, account: str) -> Decimal:
        """Return what an account holds, by the exchange."""
        told = self._get(f"/v1/positions?account={account}", dict[str, Any])
        return sum((Decimal(one["quantity"]) for one in told["positions"]), Decimal(0))


@pytest.fixture
def market() -> Iterator[Market]:
    """An exchange of the test's own."""
    with serve("exchange", "--instrument", BTC) as url:
        yield Market(url)


def settings(folder: Path, market: Market) -> Path:
    """Write settings for the exchange and its callbacks."""
    secret = folder / "secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    path = folder / "onefill.toml"
    path.write_text(f'[venues.sim]\nurl = "{market.url}"\n[venues.sim.callbacks]\nsecrets = ["file:{secret}"]\n')
    return path


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_every_callback_is_applied_once_through_kills(
    tmp_path: Path, ledger: Path, market: Market, account: str
) -> None:
    """FILL-ONCE, NO-LOSS: the receiver killed five times under doubled and mixed-up callbacks; then nothing is missing."""
    chosen, port = settings(tmp_path, market), free_port()
    rows = [limit(f"k{number}", "2") for number in range(20)]
    common = ("--ledger", ledger, "--venue", "sim", "--settings", chosen, "--account", account)
    ran = process("run", blotter(tmp_path, *rows), *common)
    assert ran.code == 0, ran.err
    market.call_back(account, f"http://127.0.0.1:{port}/callbacks/sim:{account}", seed=7, doubled=0.4, late_s=0.1)
    serving = ("callbacks", "serve", *common, "--listen", f"127.0.0.1:{port}", "--json")
    for life in range(5):
        with started(*serving) as server:
            assert address(server.stdout) == f"http://127.0.0.1:{port}"
            answered = market.counts(account)["answered"]
            for part in range(4):
                market.sell(10 * life + part, "1.5")
            market.wait_for(account, answered=answered + 1 + life)
            server.kill()
    with started(*serving) as server:
        address(server.stdout)
        told = market.wait_for(account, waiting=0)
        server.send_signal(signal.SIGTERM)
        out, error = server.communicate(timeout=PATIENCE_S)
        assert server.returncode == 0, out + error
    assert told["refused"] == 0
    assert told["answered"] > told["made"] > 20
    assert told["unanswered"] > 0
    (position,) = onefill("positions", "--ledger", ledger, "--json").json
    assert Decimal(position["quantity"]) == market.held(account) == 30
    with contextlib.closing(sqlite3.connect(ledger)) as file:
        assert file.execute("SELECT count(*) FROM inbox").fetchone() == (told["made"],)
        streams = dict(file.execute("SELECT stream, count(*) FROM execution GROUP BY stream"))
    assert set(streams) <= {"callback", "executions"}
    for check in (("audit", "verify", "--ledger", ledger), ("replay", ledger)):
        assert onefill(*check).code == 0
    history = onefill("show", "k0", "--ledger", ledger, "--json").json["history"]
    assert {event["type"] for entry in history for event in entry["events"]} >= {"recorded", "traded"}
    assert onefill("show", "k0", "--ledger", ledger).code == 0
    assert onefill("incidents", ledger, "--json").json == []


class Deaf(package.ExchangeVenue):
    """A connection whose streams tell nothing."""

    async def _silence(self) -> AsyncIterator[ExecutionReport]:
        await asyncio.Event().wait()
        yield  # type: ignore[misc]

    def stream(self, after: int) -> Any:
        return self._silence()

    async def executions(self, after: int) -> list[ExecutionReport]:
        return []


def test_callbacks_alone_keep_the_books(tmp_path: Path, ledger: Path, market: Market, account: str) -> None:
    """With a stream that tells nothing, orders and positions follow from callbacks; what is forged changes nothing."""
    settings(tmp_path, market)
    verified = CallbackSettings(secrets=(f"file:{tmp_path / 'secret'}",))
    plan, urls = CallbackPlan(listen="127.0.0.1:0", venues={"sim": verified}), list[str]()
    refused: list[str] = []

    async def main() -> None:
        opened = package.open(
            ledger,
            venues={"sim": Deaf(market.url, account)},
            callbacks=plan,
            on_callbacks=urls.append,
            on_callback_refused=refused.append,
        )
        async with opened as gateway:
            url = f"{urls[0]}/callbacks/sim"
            await asyncio.to_thread(market.call_back, account, url, seed=1, doubled=0.5, late_s=0.05)
            for number in range(5):
                wanted = package.Intent(
                    account=account, strategy="s", instrument="BTC-USD", side="buy", quantity="3", price="100"
                )
                await gateway.submit(wanted, key=f"k{number}", allow_similar=True)
                await asyncio.to_thread(market.sell, number, "2")
            told = await asyncio.to_thread(market.wait_for, account, made=5, waiting=0)
            assert told["refused"] == 0
            assert [str(position.quantity) for position in gateway.positions()] == ["10"]
            assert gateway.counts()["sim"].quarantined == 0
            assert await gateway.incidents() == []
            forged = standard_headers(b"not the exchange's own key......", "evt_x", int(time.time()), b"{}")
            assert await asyncio.to_thread(_post, url, forged, b"{}") == 401
            assert await asyncio.to_thread(_post, f"{url}-other", forged, b"{}") == 503

    asyncio.run(main())
    assert onefill("replay", ledger).code == 0
    history = onefill("show", "k0", "--ledger", ledger, "--json").json["history"]
    assert "callback_taken" in {event["type"] for entry in history for event in entry["events"]}
    assert "callback taken" in onefill("show", "k0", "--ledger", ledger).out.replace("_", " ")
    assert [one.partition(":")[0] for one in refused] == ["callback for 'sim'"]
    assert "no signature fits" in refused[0]


def _post(url: str, headers: dict[str, str], body: bytes) -> int:
    try:
        request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:  # noqa: S310 - our own gateway
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_callback_can_be_looked_at(tmp_path: Path, market: Market) -> None:
    """``onefill callbacks verify`` says whether it is genuine, and if not, why; nothing is taken in."""
    chosen, body = settings(tmp_path, market), tmp_path / "body"
    body.write_bytes(b'{"a":1}')
    headers = tmp_path / "headers"
    given = standard_headers(KEY, "evt_1", 1_750_000_000, b'{"a":1}')
    headers.write_text("".join(f"{name}: {value}\n" for name, value in given.items()))
    line = ("callbacks", "verify", body, "--headers", headers, "--venue", "sim", "--settings", chosen, "--json")
    found = onefill(*line, "--at", 1_750_000_100)
    assert (found.code, found.json["genuine"], found.json["event_id"]) == (0, True, "evt_1")
    late = onefill(*line)
    assert (late.code, late.json["genuine"]) == (1, False)
    assert "at most 300 s are allowed" in late.json["reason"]
    headers.write_text("nothing\n")
    assert onefill(*line).code == 2


def test_serving_needs_an_address_and_secrets(tmp_path: Path, ledger: Path, market: Market) -> None:
    """What is missing is named before anything is opened."""
    chosen = settings(tmp_path, market)
    line = ("callbacks", "serve", "--ledger", ledger, "--venue", "sim", "--settings", chosen)
    assert "--listen: is missing" in onefill(*line).err
    assert "is not of the form HOST:PORT" in onefill(*line, "--listen", "here").err
    (tmp_path / "secret").unlink()
    gone = onefill(*line, "--listen", "127.0.0.1:0")
    assert (gone.code, "cannot be read" in gone.err, ledger.exists()) == (2, True, False)
    chosen.write_text(f'[venues.sim]\nurl = "{market.url}"\n')
    assert "venues.sim.callbacks: is missing" in onefill(*line, "--listen", "127.0.0.1:0").err
