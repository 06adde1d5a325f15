"""What tests of the command line share: the commands in this process and in others, an exchange to run against, files."""

import contextlib
import hashlib
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
import typer.main
from typer.testing import CliRunner

from onefill.cli.main import app
from onefill.sim.order_book import ExchangeOrder

HEADER = "key,instrument,side,quantity,type,price,time in force\n"
QUICK = ("--request-expiry-s", "1", "--conclusive-after-s", "1.5")
"""Options of an exchange after whose silence it is soon known what became of an order."""
_COMMAND = typer.main.get_command(app)
PATIENCE_S = 60
"""How long any process may take before the test fails."""


class Result(msgspec.Struct, frozen=True):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return standard output as the one JSON document that it must be."""
        return msgspec.json.decode(self.out)


def onefill(*arguments: object) -> Result:
    """Run a command in this process. The tree of commands is built once: what is built is never let go of again."""
    with CliRunner().isolation() as (out, err, _):
        try:
            _COMMAND.main(args=[str(one) for one in arguments], prog_name="onefill")
            code: object = 0
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        told = [stream.getvalue().decode().replace("\r\n", "\n") for stream in (out, err)]
    assert isinstance(code, int)
    return Result(code, *told)


def patiently() -> Iterator[None]:
    """Go on for as long as anything may take."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        yield


def command(*arguments: object) -> list[str]:
    """Return the command line that runs ``onefill ARGUMENTS`` in a process of its own."""
    return [sys.executable, "-m", "onefill", *(str(one) for one in arguments)]


def process(*arguments: object, **settings: Any) -> Result:
    """Run a command in a process of its own, to its end."""
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=PATIENCE_S, check=False, **settings
    )
    return Result(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def started(*arguments: object, **settings: Any) -> Iterator["subprocess.Popen[str]"]:
    """Run a command in a process of its own, which has ended when this is left."""
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings
    ) as child:
        try:
            yield child
        finally:
            child.kill()
            child.communicate()


@contextlib.contextmanager
def serve(*arguments: object) -> Iterator[str]:
    """Run ``onefill exchange`` or ``link`` on a free port; give its address."""
    with started(*arguments, "--port", "0", "--json") as server:
        yield address(server.stdout)


def address(out: IO[str] | None) -> str:
    """Return the address that a server's first line names."""
    assert out is not None
    return str(msgspec.json.decode(out.readline())["listening"])


class Venue:
    """An exchange, asked directly."""

    def __init__(self, url: str) -> None:
        self.url = url

    def orders(self, account: str) -> list[ExchangeOrder]:
        """Return every order that an account ever had there, by quantity: rows go out side by side, in no fixed order."""
        found = self._get("/v1/all-orders", list[ExchangeOrder])
        return sorted((one for one in found if one.account == account), key=lambda one: (-one.quantity, one.number))

    def submits(self) -> int:
        """Return how many orders were sent there, taken or not."""
        return int(self._get("/v1/counts", dict[str, Any])["submits"])

    def wait_for_submits(self, count: int) -> None:
        """Return once so many orders were sent there."""
        end = time.monotonic() + PATIENCE_S
        while self.submits() < count:
            assert time.monotonic() < end, f"{count} orders never came"

    def _get(self, path: str, kind: Any) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE_S) as reply:  # noqa: S310 - our own exchange
            return msgspec.json.decode(reply.read(), type=kind)


def account_of(name: str) -> str:
    """Return an account's name made from a test's."""
    return "t" + hashlib.sha256(name.encode()).hexdigest()[:12]


def limit(key: str, quantity: str = "1", price: str = "100", side: str = "buy") -> str:
    """Return the line of a limit order."""
    return f"{key},BTC-USD,{side},{quantity},limit,{price},gtc\n"


def cancel(key: str) -> str:
    """Return the line of a cancel."""
    return f"{key},,,,cancel,,\n"


def blotter(folder: Path, *lines: str, name: str = "orders.csv") -> Path:
    """Write a blotter with these lines below the header."""
    path = folder / name
    path.write_text(HEADER + "".join(lines))
    return path


class StuckRun(msgspec.Struct, frozen=True):
    """A run whose exchange has stopped answering while rows are under way."""

    child: Any
    venue: Venue
    wake: Callable[[], None]
    """Lets the exchange go on."""


@contextlib.contextmanager
def stuck_run(file: Path, ledger: Path, account: str) -> Iterator[StuckRun]:
    """Run a file until some orders are at an exchange of its own, then stop that exchange with SIGSTOP."""
    with started("exchange", "--no-matching", *QUICK, "--port", "0", "--json") as server:
        venue = Venue(address(server.stdout))
        run = ("run", file, "--ledger", ledger, "--venue", venue.url, "--account", account, "--timeout-s", PATIENCE_S)
        with started(*run) as child:
            venue.wait_for_submits(20)
            server.send_signal(signal.SIGSTOP)
            try:
                yield StuckRun(child, venue, lambda: server.send_signal(signal.SIGCONT))
            finally:
                server.send_signal(signal.SIGCONT)
