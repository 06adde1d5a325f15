"""The whole example of docs/steps.md, killed at every line in turn, and what ``onefill steps`` shows of it."""

import contextlib
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import steps_example_kit
from cli_kit import Venue, onefill

PAGE = Path(__file__).resolve().parents[2] / "docs" / "steps.md"


def example() -> str:
    """Return the page's example."""
    found = re.search(r"<!-- example -->\n```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_may_be_killed_at_any_line(tmp_path: Path, exchange: Venue, account: str) -> None:
    """After a kill at any line, and a run to the end: one order, each effect once, the answers that were given before."""
    script = tmp_path / "example.py"
    script.write_text(example(), "utf-8")
    line = [sys.executable, steps_example_kit.__file__, str(script), str(tmp_path), exchange.url, account]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    runs = [[int(one) for one in row.split()] for row in done.stdout.splitlines()]
    assert len(runs) > 20
    assert [killed for _, killed, _ in runs] == [signal.SIGKILL] * (len(runs) - 1) + [0]
    assert [ended for *_, ended in runs] == [0] * len(runs), done.stderr
    for number, *_ in runs:
        folder = tmp_path / str(number)
        assert len(exchange.orders(f"{account}-{number}")) == 1
        before, told = ((folder / f"out.{one}").read_text() for one in (0, 1))
        assert told.startswith(before)  # nothing, unless the first run came to its end
        with contextlib.closing(sqlite3.connect(folder / "books.db")) as books:
            entries = books.execute("SELECT what, lots FROM entry ORDER BY rowid").fetchall()
        booked = told.split()[1]
        assert len(told.split()) == 3
        assert entries == [("bought", "3"), ("north", "1.5"), ("south", "1.5"), ("told", booked)]


def test_steps_shows_how_far_a_process_came(tmp_path: Path, exchange: Venue, account: str) -> None:
    """Done with its result, open, and none: as a table and as JSON."""
    script = tmp_path / "example.py"
    text = example()
    broken = text.replace('"notify", lambda attempt: write(', '"notify", lambda attempt: 1 / 0 + write(')
    assert broken != text
    script.write_text(broken, "utf-8")
    line = [sys.executable, str(script), exchange.url, account, "k"]
    assert subprocess.run(line, capture_output=True, timeout=60, check=False, cwd=tmp_path).returncode == 1
    ledger = tmp_path / "orders.db"
    found = onefill("steps", "k", "--ledger", ledger, "--json").json
    assert [(one["step"], one["state"], one["attempts"]) for one in found] == [
        ("book", "done", 1),
        ("allocate-north", "done", 1),
        ("allocate-south", "done", 1),
        ("notify", "open", 1),
    ]
    assert found[0]["result"] == found[0]["idempotency_key"][:8]
    assert found[0]["arguments_sha256"] is None
    assert found[1]["arguments_sha256"] == found[2]["arguments_sha256"] is not None
    shown = onefill("steps", "k", "--ledger", ledger)
    assert shown.code == 0
    assert "allocate-south" in shown.out
    assert "open" in shown.out
    missing = onefill("steps", "other", "--ledger", ledger)
    assert missing.code == 2
    assert "no step was ever begun under 'other'" in missing.err
