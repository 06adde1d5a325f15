"""Ledgers, venues and settings that cannot be used: each is named with what it is, what to do, and that nothing was sent."""

import contextlib
import http.server
import json
import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_kit import PATIENCE_S, Venue, blotter, command, limit, onefill

READERS = (("orders",), ("show", "a"), ("positions",), ("audit", "verify"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a blotter of one order."""
    return blotter(tmp_path, limit("a"))


def foreign(path: Path, kind: str) -> None:
    """Put something at ``path`` that is no ledger."""
    if kind == "text":
        path.write_text("key,instrument\n" * 100)
    elif kind == "folder":
        path.mkdir()
    elif kind == "other database":
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE mine (x)")


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("text", ": is not a ledger (not a SQLite file), or its first page is damaged. It was left untouched; "),
        ("folder", ": is a folder, not a ledger; name a file"),
        ("other database", ": is a SQLite database of another program. It was left untouched; name another file"),
    ],
)
def test_what_is_no_ledger_is_left_as_it_is_by_every_command(
    tmp_path: Path, file: Path, exchange: Venue, account: str, kind: str, told: str
) -> None:
    """Exit code 4 and the same text from all of them; not a byte changes and nothing is sent."""
    path = tmp_path / "orders.db"
    foreign(path, kind)
    before = path.read_bytes() if path.is_file() else b""
    writing = ("--venue", exchange.url, "--account", account)
    for arguments in (
        ("run", file, *writing),
        ("run", file, "--strict", *writing),
        ("cancel", "a", *writing),
        *READERS,
    ):
        done = onefill(*arguments, "--ledger", path)
        assert (done.code, done.out) == (4, ""), arguments
        assert done.err.startswith(f"error: {path}{told}"), arguments
    assert before == (path.read_bytes() if path.is_file() else b"")
    assert exchange.orders(account) == []


def test_a_ledger_of_a_newer_version_is_left_untouched(tmp_path: Path, file: Path, exchange: Venue) -> None:
    """It says which version it is, which one is known, and what to install."""
    path = tmp_path / "orders.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE ledger (x)")
        db.execute("PRAGMA application_id = 0x4F6E6566")
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    for arguments in (("run", file, "--venue", exchange.url), *READERS):
        done = onefill(*arguments, "--ledger", path)
        assert done.code == 4
        assert ": was written by a newer Onefill (ledger version 99, this one knows " in done.err
        assert done.err.endswith("It was left untouched; install the newer Onefill\n")
    assert path.read_bytes() == before


@pytest.mark.parametrize("arguments", READERS)
def test_reading_a_ledger_that_is_not_there_makes_none(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A mistyped name is told, with how a ledger comes to be; an empty file likewise."""
    done = onefill(*arguments, "--ledger", tmp_path / "none.db")
    assert done.code == 4
    assert "there is no such file. A ledger is made by the first run that writes to it" in done.err
    assert os.listdir(tmp_path) == []
    (tmp_path / "empty.db").touch()
    done = onefill(*arguments, "--ledger", tmp_path / "empty.db")
    assert (done.code, "the file is empty; a ledger is made by the first run" in done.err) == (4, True)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("missing/orders.db", "its folder does not exist; make it first"),
        ("/proc/onefill/orders.db", "its folder does not"),
    ],
)
def test_a_ledger_that_cannot_be_made_is_told(
    tmp_path: Path, file: Path, exchange: Venue, account: str, place: str, told: str
) -> None:
    """Exit code 4, and nothing was sent."""
    path = tmp_path / place
    done = onefill("run", file, "--ledger", path, "--venue", exchange.url, "--account", account)
    assert done.code == 4
    assert done.err.startswith(f"error: {path}: ")
    assert told in done.err
    assert exchange.orders(account) == []


def test_a_folder_that_takes_no_files_is_told(file: Path, exchange: Venue, account: str) -> None:
    """A place where not even the superuser can make a file: the text names it, and nothing was sent."""
    done = onefill("run", file, "--ledger", "/proc/orders.db", "--venue", exchange.url, "--account", account)
    assert done.code == 4
    assert done.err.startswith("error: /proc/orders.db")
    assert exchange.orders(account) == []


class _Page(http.server.BaseHTTPRequestHandler):
    """A web server that is no exchange."""

    def do_GET(self) -> None:
        body = b"<html><body>Welcome to \x1b[31mnginx</body></html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web_page() -> Iterator[str]:
    """Serve one HTML page."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_venue_that_is_not_there_or_no_exchange_is_told_with_what_came_back(
    tmp_path: Path, file: Path, exchange: Venue, web_page: str
) -> None:
    """Nothing listens, a web page answers, the scheme is wrong: exit code 4, the address, the reason, and advice.

    All are tried side by side, since each is given several seconds to come up.
    """
    cases = {
        "http://127.0.0.1:9": "no connection: ",
        web_page: "unreadable answer (JSON is malformed: ",
        exchange.url.replace("http:", "https:"): "no connection: ",
    }
    processes = {}
    for number, url in enumerate(cases):
        line = command("run", file, "--ledger", tmp_path / f"{number}.db", "--venue", url)
        processes[url] = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ends = {url: (child.communicate(timeout=PATIENCE_S), child.returncode) for url, child in processes.items()}
    for url, reason in cases.items():
        (out, err), code = ends[url]
        assert (code, out) == (4, ""), err
        assert err.startswith(f"error: {url}/v1/dialect: 10 attempts failed, the last with: {reason}"), err
        assert "Is the exchange running there (onefill exchange), and is the address right? No order was sent" in err
        assert len(err.splitlines()) == 1
        assert "\x1b" not in err


@pytest.mark.parametrize(
    ("venue", "told"),
    [
        (
            "nowhere",
            "--venue: 'nowhere' is neither a URL (http://host:port) nor a venue of the settings file (there: paper)",
        ),
        ("ftp://x", "--venue: 'ftp://x' is not of the form http://host:port"),
        ("http://127.0.0.1:9/v1", "--venue: 'http://127.0.0.1:9/v1' says more than http://host:port"),
    ],
)
def test_a_venue_that_means_nothing_is_told_at_once(tmp_path: Path, file: Path, venue: str, told: str) -> None:
    """Exit code 2, before ledger or network are touched; ``cancel`` says the same as ``run``."""
    settings = tmp_path / "s.toml"
    settings.write_text('[venues.paper]\nurl = "http://127.0.0.1:9"\n')
    for arguments in (("run", file), ("cancel", "a")):
        done = onefill(*arguments, "--ledger", tmp_path / "l.db", "--venue", venue, "--settings", settings)
        assert done.code == 2
        assert done.err.startswith(f"error: {told}")
    assert not (tmp_path / "l.db").exists()


def test_a_wrong_setting_is_told_by_the_command_too(tmp_path: Path, file: Path) -> None:
    """Exit code 2; as JSON the same text in one document."""
    settings = tmp_path / "s.toml"
    settings.write_text("[gateway]\nanswer_wait_s = -1\n")
    arguments = ("run", file, "--ledger", tmp_path / "l.db", "--venue", "paper", "--settings", settings)
    done = onefill(*arguments)
    text = f"{settings}: gateway.answer_wait_s: -1.0 is not a duration above zero, in seconds. Nothing was started"
    assert (done.code, done.err) == (2, f"error: {text}\n")
    assert json.loads(onefill(*arguments, "--json").out) == {"error": text, "kind": "SettingsError", "exit_code": 2}


def test_a_venue_of_the_settings_file_is_used_by_its_name(
    tmp_path: Path, file: Path, exchange: Venue, ledger: Path, account: str
) -> None:
    """Routes are called by it; a cancel that names the venue otherwise is told how it was named, and changes nothing."""
    settings = tmp_path / "s.toml"
    settings.write_text(f'[venues.paper]\nurl = "{exchange.url}"\n')
    by_name = ("--ledger", ledger, "--venue", "paper", "--settings", settings)
    done = onefill("run", file, *by_name, "--account", account, "--json")
    assert (done.code, list(done.json["routes"])) == (0, [f"paper:{account}"])
    done = onefill("cancel", "a", "--ledger", ledger, "--venue", exchange.url)
    assert done.code == 2
    assert done.err == (
        f"error: --venue: order 'a' was sent by route 'paper:{account}', this would be 'exchange:{account}'. Nothing was "
        "changed; name the venue as it was named then (what stands before the account)\n"
    )
    assert [order.status for order in exchange.orders(account)] == ["new"]
    assert onefill("cancel", "a", *by_name).code == 0
    assert [order.status for order in exchange.orders(account)] == ["canceled"]
