"""``onefill subscribers``, and ``[subscribers.NAME]`` through a whole run: with a gateway and without one."""

import contextlib
import http.server
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli_kit import PATIENCE_S, Result, Venue, blotter, limit, onefill

from onefill.cli import run_command
from onefill.core.inbox import Verifier, verify

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="  # noqa: S105 - of a key that is made up
KEY = b"0123456789abcdef0123456789abcdef"
HOLDS = """
import asyncio, sys
from pathlib import Path
from onefill.cli import options
from onefill.service import settings
from onefill.service.venue_settings import VenueSettings

async def main(ledger, url, account, file):
    configured = settings.load(Path(file))
    async with options.opened(ledger, "exchange", VenueSettings(url=url), {account}, configured, tells=True):
        print("open", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main(*sys.argv[1:]))
"""
"""A gateway with its subscribers that has a ledger until its standard input ends."""


class Endpoint:
    """A webhook endpoint in a thread. What it takes is verified; bodies of keys in ``refused`` are answered with 422."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.refused: set[str] = set()
        self.gone = False
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                verify(Verifier(keys=(KEY,)), list(self.headers.items()), body, time.time_ns() // 1000)
                told = msgspec.json.decode(body)
                assert told["id"] == self.headers["webhook-id"]
                text = b""
                if outer.gone:
                    self.send_response(410)
                elif told["key"] in outer.refused and told["kind"] != "recorded":
                    self.send_response(422)
                    text = b"unknown account"
                else:
                    outer.taken.append(told)
                    self.send_response(200)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    def settings(self, folder: Path) -> Path:
        """Write a settings file whose subscriber ``desk`` is this."""
        secret = folder / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        file = folder / "settings.toml"
        file.write_text(
            f'[subscribers.desk]\nkind = "webhook"\nurl = "http://127.0.0.1:{self.server.server_address[1]}/hook"\n'
            f'secrets = ["file:{secret}"]\npolicy = {{pause_s = 0.01, longest_pause_s = 0.05, cursor_every_s = 0.02}}\n'
        )
        return file

    def kinds(self) -> set[tuple[str | None, str]]:
        """Return (key, kind) of all that it took."""
        return {(one["key"], one["kind"]) for one in self.taken}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Run an endpoint."""
    made = Endpoint()
    serving = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02})
    serving.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        serving.join()


def run(folder: Path, ledger: Path, exchange: Venue, account: str, settings: Path, *lines: str) -> Result:
    """Run a file with these lines."""
    given = ("--ledger", ledger, "--venue", exchange.url, "--account", account, "--settings", settings)
    return onefill("run", blotter(folder, *lines), *given)


def listed(ledger: Path, *more: str) -> Any:
    """Return the subscribers as JSON."""
    return onefill("subscribers", ledger, "--json", *more).json


def first(ledger: Path) -> Any:
    """Return the first of them, empty while a gateway that just started has not made itself known yet."""
    return next(iter(listed(ledger)), {})


def until(what: Callable[[], Any]) -> None:
    """Wait until it holds."""
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, "did not come about in time"


@contextlib.contextmanager
def gateway(ledger: Path, venue: Venue, account: str, settings: Path) -> Iterator[None]:
    """Run a gateway with its subscribers in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(ledger), venue.url, account, str(settings)],
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


def test_a_run_tells_its_subscribers(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str, endpoint: Endpoint
) -> None:
    """TOLD-ONCE: what a run commits is told, signed, before it ends; a later run goes on behind it, and the list says so."""
    settings = endpoint.settings(tmp_path)
    assert run(tmp_path, ledger, exchange, account, settings, limit("a")).code == 0
    assert ("a", "recorded") in endpoint.kinds()
    first = [one["id"] for one in endpoint.taken]
    assert run(tmp_path, ledger, exchange, account, settings, limit("a"), limit("b")).code == 0
    again = [one["id"] for one in endpoint.taken]
    assert len(set(again)) == len(again)
    assert again[: len(first)] == first
    (one,) = listed(ledger)
    route = f"exchange:{account}"
    assert (one["subscriber"], one["route"], one["told"], one["stopped"]) == ("desk", route, None, [])
    assert one["lag"] == 0
    shown = onefill("subscribers", ledger)
    assert "desk" in shown.out
    assert "no gateway tells it" in shown.out


def test_stopped_orders_are_listed_and_go_on_without_a_gateway(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str, endpoint: Endpoint
) -> None:
    """A refused event stops its order and no other; after a word in the ledger the next run tells it, or leaves it out."""
    settings = endpoint.settings(tmp_path)
    endpoint.refused = {"a", "b"}
    assert run(tmp_path, ledger, exchange, account, settings, limit("a"), limit("b"), limit("c")).code == 0
    (one,) = listed(ledger)
    assert {order["key"] for order in one["stopped"]} == {"a", "b"}
    shown = onefill("subscribers", ledger)
    assert "(key a) is not told, from event" in shown.out
    incidents = onefill("incidents", ledger, "--json").json
    assert {found["kind"] for found in incidents} == {"subscriber"}
    assert {order["incident"] for order in one["stopped"]} == {found["name"] for found in incidents}
    assert "see onefill subscribers" in onefill("incidents", ledger).out
    shown = onefill("incidents", "show", ledger, incidents[0]["name"])
    assert f"onefill subscribers retry {ledger} desk --reason" in shown.out
    endpoint.refused = {"b"}
    assert onefill("subscribers", "retry", ledger, "desk", "a", "--reason", "fixed", "--by", "ann").code == 0
    done = onefill("subscribers", "skip", ledger, "desk", "b", "--reason", "nobody needs it", "--json")
    assert all(order["resumed"] for order in done.json[0]["stopped"])
    assert "goes on, and catches up" in onefill("subscribers", ledger).out
    left_out = next(order["event_id"] for order in one["stopped"] if order["key"] == "b")
    endpoint.refused = set()
    assert run(tmp_path, ledger, exchange, account, settings, limit("d")).code == 0
    ids = [told["id"] for told in endpoint.taken]
    assert left_out not in ids
    assert next(order["event_id"] for order in one["stopped"] if order["key"] == "a") in ids
    (one,) = listed(ledger)
    assert one["stopped"] == []
    assert onefill("replay", ledger).code == 0
    assert onefill("audit", "verify", "--ledger", ledger).code == 0
    log = onefill("audit", "log", "--ledger", ledger, "--json").out
    assert all(kind in log for kind in ("lane_stopped", "lane_resumed", "incident_converged"))
    for found in onefill("incidents", ledger, "--json").json:
        assert found["converged_at_us"] is not None
        shown = onefill("incidents", "show", ledger, found["name"], "--markdown")
        assert (shown.code, "does not take an event" in shown.out) == (0, True)


def test_words_reach_a_running_gateway(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str, endpoint: Endpoint
) -> None:
    """A running gateway lists what it does, goes on with an order at a word, and tells again from an earlier entry."""
    settings = endpoint.settings(tmp_path)
    endpoint.refused = {"a"}
    assert run(tmp_path, ledger, exchange, account, settings, limit("a"), limit("b")).code == 0
    with gateway(ledger, exchange, account, settings):
        until(lambda: first(ledger).get("lag") == 0)
        (one,) = listed(ledger)
        assert isinstance(one["told"], int)
        assert "told" in onefill("subscribers", ledger).out
        endpoint.refused = set()
        assert onefill("subscribers", "retry", ledger, "desk", "--reason", "fixed").code == 0
        until(lambda: first(ledger).get("stopped") == [])
        until(lambda: first(ledger).get("lag") == 0)
        known = [told["id"] for told in endpoint.taken]
        assert onefill("subscribers", "rewind", ledger, "desk", "--to", "0", "--reason", "lost them").code == 0
        until(lambda: set(known) <= {told["id"] for told in endpoint.taken[len(known) :]})
        until(lambda: first(ledger).get("lag") == 0)
        again = len(endpoint.taken)
        time_ = "2000-01-01T00:00:00Z"
        assert onefill("subscribers", "rewind", ledger, "desk", "--to", time_, "--reason", "again").code == 0
        until(lambda: set(known) <= {told["id"] for told in endpoint.taken[again:]})


def test_a_subscriber_that_is_gone_is_shown(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str, endpoint: Endpoint
) -> None:
    """410 Gone: nothing more is told, the list says why, and a word asks once more."""
    settings = endpoint.settings(tmp_path)
    endpoint.gone = True
    with gateway(ledger, exchange, account, settings):
        until(lambda: first(ledger).get("gone"))
        assert "gone: answered 410" in onefill("subscribers", ledger).out
        endpoint.gone = False
        assert onefill("subscribers", "retry", ledger, "desk", "--reason", "they are back").code == 0
        until(lambda: first(ledger).get("lag") == 0)
        assert endpoint.taken


def test_a_run_does_not_wait_for_ever_for_a_subscriber(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody listens the run ends as always, within a bound, and says that somebody was not told; the next one tells."""
    monkeypatch.setattr(run_command, "_TELL_REST_S", 0.2)
    settings = endpoint.settings(tmp_path)
    nowhere = tmp_path / "nowhere.toml"
    nowhere.write_text(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", settings.read_text()))
    done = run(tmp_path, ledger, exchange, account, nowhere, limit("a"))
    assert done.code == 0
    assert "not every subscriber has all of it yet" in done.err
    (one,) = listed(ledger)
    assert (one["position"], one["lag"]) == (0, one["head"])
    monkeypatch.undo()
    done = run(tmp_path, ledger, exchange, account, settings, limit("a"))
    assert "subscriber" not in done.err
    assert ("a", "recorded") in endpoint.kinds()
    assert listed(ledger)[0]["lag"] == 0


def test_wrong_words_change_nothing(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str, endpoint: Endpoint
) -> None:
    """What names nobody, no order, no entry or no time is refused with exit code 2, with a gateway and without one."""
    settings = endpoint.settings(tmp_path)
    assert run(tmp_path, ledger, exchange, account, settings, limit("a")).code == 0

    def refuse() -> None:
        said = ("--reason", "r")
        for arguments, told in (
            (("retry", ledger, "nobody", *said), "subscriber 'nobody' is not known here; known: desk"),
            (("retry", ledger, "desk", "zzz", *said), "'zzz' is not stopped"),
            (("skip", ledger, "desk", "a", *said), "'a' is not stopped"),
            (("rewind", ledger, "desk", "--to", "99999", *said), "99999 is not an entry of route"),
            (("rewind", ledger, "desk", "--to", "noon", *said), "'noon' is neither an entry's number nor a time"),
            (("rewind", ledger, "desk", "--to", "2026-01-01T00:00:00", *said), "does not say in which time zone"),
            (("rewind", ledger, "desk", "--to", "1", "--reason", " "), "reason: a subscriber's place is changed by"),
            (("retry", ledger, "desk", "--route", "zzz", *said), "zzz"),
        ):
            done = onefill("subscribers", *arguments)
            assert done.code == 2, done
            assert told in done.err

    (before,) = listed(ledger)
    refuse()
    (after,) = listed(ledger)
    assert (after["position"], after["stopped"]) == (before["position"], before["stopped"])
    with gateway(ledger, exchange, account, settings):
        until(lambda: first(ledger).get("lag") == 0)
        refuse()


def test_nobody_is_told_of_a_ledger_without_subscribers(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str
) -> None:
    """Without subscribers the list is empty, and says so."""
    empty = tmp_path / "empty.toml"
    empty.write_text("")
    assert run(tmp_path, ledger, exchange, account, empty, limit("a")).code == 0
    assert listed(ledger) == []
    assert "nobody was ever told" in onefill("subscribers", ledger).err
