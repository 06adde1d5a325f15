"""What tests of open questions share: a way to an exchange on which replies are lost, and orders left uncertain by it."""

import contextlib
import http.server
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
from cli_kit import PATIENCE_S, Result, blotter, onefill, patiently

from onefill.venues import exchange_wire as wire

NOTHING_IS_CONCLUSIVE = (
    "--request-expiry-s",
    "0",
    "--conclusive-after-s",
    "0",
    "--unique-scope",
    "none",
    "--no-matching",
)
"""Options of an exchange on which "not found" proves nothing, and a second copy would be a second order."""
LISTS_ONLY = ("--lookup", "scan", *NOTHING_IS_CONCLUSIVE)


class Way(http.server.ThreadingHTTPServer):
    """The way to an exchange. It never tells executions, so that only replies, look-ups and lists say what became of an order.

    * ``lost``: of these requests (such as ``POST /v1/orders``) the reply is lost; the exchange gets them.
    * ``swallowed``: these requests are lost before the exchange gets them.
    * ``held``: the exchange gets these requests; their replies stay on the way until it is at its end, and are lost then.
    * ``blank_ids``: the exchange's lists come without client order ids, as of venues that do not show them.
    """

    def __init__(self, exchange: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.exchange = exchange
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.lost: set[str] = set()
        self.swallowed: set[str] = set()
        self.held: set[str] = set()
        self.ended = threading.Event()
        self.blank_ids = False


class _Passage(http.server.BaseHTTPRequestHandler):
    """One request on its way."""

    server: Way

    def do_GET(self) -> None:
        self._pass(None)

    def do_POST(self) -> None:
        self._pass(self.rfile.read(int(self.headers["Content-Length"])))

    def _pass(self, body: bytes | None) -> None:
        path = self.path.partition("?")[0]
        name = f"{self.command} {path}"
        if path == wire.STREAM or name in self.server.swallowed:
            self.close_connection = True
            return
        status, answer = (200, b"[]") if path == wire.EXECUTIONS else self._asked(body)
        if path == wire.SCAN and self.server.blank_ids:
            listed = msgspec.json.decode(answer)
            answer = msgspec.json.encode({"orders": [one | {"client_order_id": ""} for one in listed["orders"]]})
        if name in self.server.held:
            self.server.ended.wait(PATIENCE_S)
        if name in self.server.lost | self.server.held:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # whoever asked may have gone
            self.wfile.write(answer)

    def _asked(self, body: bytes | None) -> tuple[int, bytes]:
        request = urllib.request.Request(  # noqa: S310 - our own exchange
            self.server.exchange + self.path, body, {"Content-Type": "application/json"}, method=self.command
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:  # noqa: S310 - likewise
                return reply.status, reply.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def way_to(exchange: str) -> Iterator[Way]:
    """Run a way to an exchange, on which nothing is lost at first."""
    with Way(exchange) as way:
        thread = threading.Thread(target=way.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield way
        finally:
            way.ended.set()
            way.shutdown()
            thread.join()


def run(folder: Path, ledger: Path, venue: str, account: str, *lines: str, wait_s: float = 5) -> Result:
    """Send lines of a blotter, one after the other."""
    file = blotter(folder, *lines)
    where = ("--ledger", ledger, "--venue", venue, "--account", account, "--in-flight", 1, "--wait-s", wait_s)
    return onefill("run", file, *where, "--json")


def quick(folder: Path, url: str, *, reply_timeout_s: float = 0.3, timeout_s: float = 0.3) -> Path:
    """Write settings of a venue ``way`` whose calls, and so copies of requests, are over soon."""
    path = folder / "settings.toml"
    gateway, venue = f"reply_timeout_s = {reply_timeout_s}", f'url = "{url}"\ntimeout_s = {timeout_s}'
    path.write_text(f"[gateway]\n{gateway}\n\n[venues.way]\n{venue}\n")
    return path


def until(code: int, *arguments: object) -> Result:
    """Run a command until it ends with this exit code."""
    for _ in patiently():
        done = onefill(*arguments)
        if done.code == code:
            return done
    raise AssertionError(f"never ended with {code}: {done}")
