"""How every command behaves towards terminals, pipes and programs: widths, colours, JSON, exit codes, help, completion."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import pytest
import typer
from cli_kit import PATIENCE_S, Venue, blotter, command, limit, onefill, process

from onefill.cli import output

COMMANDS = (
    (),
    ("run",),
    ("orders",),
    ("show",),
    ("cancel",),
    ("positions",),
    ("audit",),
    ("audit", "verify"),
    ("exchange",),
    ("link",),
)
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def ledger_with_orders(tmp_path: Path, ledger: Path, exchange: Venue, account: str) -> Path:
    """Return a ledger with two orders."""
    file = blotter(tmp_path, limit("a" * 20, "1.00000001", "12345.67"), limit("b"))
    assert onefill("run", file, "--ledger", ledger, "--venue", exchange.url, "--account", account).code == 0
    return ledger


def on_terminal(*arguments: object, columns: int = 80) -> str:
    """Run a command on a terminal and return what it wrote there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    environment["TERM"] = "xterm-256color"
    child = subprocess.Popen(command(*arguments), stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    seen = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        seen += data
    os.close(master)
    child.wait(PATIENCE_S)
    return seen.decode()


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_help_fits_80_columns_and_shows_no_colours_when_piped(name: tuple[str, ...]) -> None:
    """Every command has help that says what it does."""
    done = onefill(*name, "--help")
    assert done.code == 0
    assert "Usage: " in done.out
    assert "\x1b" not in done.out
    assert max(len(line) for line in done.out.splitlines()) <= 80


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "x.csv", "--in-flight", "0"),
        ("show",),
        ("nope",),
        ("orders", "--bogus"),
        ("link", "--seed", "x"),
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_told_with_exit_code_2_and_as_json_where_asked(arguments: tuple[str, ...]) -> None:
    """With ``--json`` standard output is one document with error, kind and exit code; without it, it stays empty."""
    done = onefill(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "onefill" in done.err
    told = onefill(*arguments, "--json")
    assert told.code == 2
    assert (told.json["kind"], told.json["exit_code"]) == ("UsageError", 2)
    assert told.json["error"]


def test_tables_fit_a_terminal_of_80_columns(tmp_path: Path, ledger_with_orders: Path) -> None:
    """Columns that do not fit are left out and named; a wide terminal shows them all."""
    narrow = on_terminal("orders", "--ledger", ledger_with_orders)
    lines = ANSI.sub("", narrow).splitlines()
    assert max(len(line) for line in lines) <= 80
    assert "left out for want of width: client order id" in narrow
    assert any(line.split()[:1] == ["a" * 20] for line in lines)
    assert "\x1b[1m" in narrow
    wide = ANSI.sub("", on_terminal("orders", "--ledger", ledger_with_orders, columns=200))
    assert "client order id" in wide
    assert "left out" not in wide


def test_a_run_on_a_terminal_shows_a_bar_on_standard_error_only(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str
) -> None:
    """Progress is live on a terminal; redirected, standard error has plain lines only, and JSON is alone on its own."""
    file = blotter(tmp_path, *[limit(f"k{n}") for n in range(30)])
    arguments = ("run", file, "--ledger", ledger, "--venue", exchange.url, "--account", account)
    seen = on_terminal(*arguments)
    assert "30/30" in ANSI.sub("", seen)
    assert all(len(line.split("\r")[-1]) <= 80 for line in ANSI.sub("", seen).splitlines())
    piped = process(*arguments, "--json")
    assert (piped.code, piped.err) == (0, "")
    assert piped.json["rows"] == 30
    plain = process(*arguments)
    assert "\x1b" not in plain.out + plain.err
    assert plain.err == f"exchange:{account}: 30 answered from the ledger\n"


def test_an_error_is_one_line_when_piped_and_red_on_a_terminal(tmp_path: Path) -> None:
    """So that a log keeps one error in one line, however long the path."""
    path = tmp_path / ("long" * 30)
    done = onefill("orders", "--ledger", path)
    assert done.err.count("\n") == 1
    seen = on_terminal("orders", "--ledger", path)
    assert "\x1b[1;31merror:\x1b[0m" in seen
    assert all(len(line) <= 80 for line in ANSI.sub("", seen).splitlines())


def test_a_reader_that_goes_away_is_no_error_worth_telling(ledger_with_orders: Path) -> None:
    """A closed pipe ends a command quietly, as SIGPIPE would."""
    for more in ((), ("--json",)):
        ours, theirs = os.pipe()
        os.close(ours)
        child = subprocess.Popen(
            command("orders", "--ledger", ledger_with_orders, *more), stdout=theirs, stderr=subprocess.PIPE
        )
        os.close(theirs)
        _, err = child.communicate(timeout=PATIENCE_S)
        assert (child.returncode, err) == (141, b"")


def test_nothing_in_a_file_can_steer_a_terminal(tmp_path: Path, ledger: Path, exchange: Venue) -> None:
    """Control characters in names and cells are shown as codes, never sent."""
    file = blotter(tmp_path, "k\x1b]0;owned\x07,BTC-USD,buy\x1b[2J,1,limit,1,gtc\n", name="a\x1b[31m.csv")
    for arguments in (
        ("run", file, "--ledger", ledger, "--venue", exchange.url),
        ("run", tmp_path / "\x1b[31mnone.csv", "--ledger", ledger, "--venue", exchange.url),
    ):
        done = onefill(*arguments)
        assert done.code in (1, 2)
        assert "\x1b" not in done.out + done.err
        assert "\x07" not in done.out + done.err
        assert "\\x1b" in done.err


def test_shell_completion_is_harmless(tmp_path: Path) -> None:
    """It answers the shell's question on standard output and writes no file anywhere."""
    environment = os.environ | {
        "HOME": str(tmp_path),
        "_ONEFILL_COMPLETE": "complete_bash",
        "COMP_WORDS": "onefill au",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [Path(command()[0]).with_name("onefill")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["audit"])
    assert os.listdir(tmp_path) == []


def test_a_defect_is_told_as_one_with_its_own_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Never exit code 1, which speaks of orders; as JSON one document like any other error."""
    with pytest.raises(typer.Exit) as ended, output.told(as_json=True):
        raise ZeroDivisionError("no such luck")
    assert ended.value.exit_code == 5
    seen = capsys.readouterr()
    assert '"kind": "ZeroDivisionError"' in seen.out
    assert "run the same command again, nothing is sent twice" in seen.out
    assert "Traceback" in seen.err


def test_servers_say_what_is_wrong_before_they_serve(tmp_path: Path) -> None:
    """Instruments, ports, upstreams, faults and traces are checked at the start, each named with its form."""
    faults = tmp_path / "f.toml"
    faults.write_text("refuse = 3\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path)
        for arguments, code, told in (
            (
                ("exchange", "--instrument", "X"),
                2,
                "--instrument: 'X' is not SYMBOL:PRICE_TICK:QUANTITY_STEP, such as ",
            ),
            (("exchange", "--instrument", "X:a:1"), 2, "--instrument, price tick: 'a' is not a plain decimal number"),
            (("exchange", "--host", "192.0.2.1", "--port", "0"), 4, "cannot listen on 192.0.2.1:0: "),
            (("link", "--upstream", "x"), 2, "--upstream: 'x' is not http://host:port or host:port"),
            (
                ("link", "--upstream", "h:1", "--faults", "bad"),
                2,
                "--faults: 'bad' is none of: calm, rough, storm, nor ",
            ),
            (("link", "--upstream", "h:1", "--faults", "no.toml"), 2, "--faults no.toml: cannot be read: No such file"),
            (("link", "--upstream", "h:1", "--faults", "f.toml"), 2, "--faults f.toml: refuse: 3 is not a probability"),
            (("link", "--upstream", "h:1", "--trace", "no/t"), 2, "--trace no/t: cannot be written: No such file"),
        ):
            done = onefill(*arguments)
            assert (done.code, done.out) == (code, ""), arguments
            assert done.err.startswith(f"error: {told}"), done.err
            assert onefill(*arguments, "--json").json["exit_code"] == code
