"""The examples, and the script of the documentation, as they stand there, against an imitation that loses replies."""

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import ccxt
import ccxt.async_support
import pytest
from guard_kit import Venue

from onefill.sim.imitations import spoils

ROOT = Path(__file__).parents[2]
HEADING = "## An existing ccxt script"
PAGES = [page for page in ("README.md", "docs/guard.md") if HEADING in (ROOT / page).read_text(encoding="utf-8")]


@pytest.fixture
def at_venue(venue: Venue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Venue:
    """The imitation in place of Binance, for scripts that know nothing of it, in a folder of their own."""
    monkeypatch.setattr(ccxt, "binance", lambda _: venue.plain())
    monkeypatch.setattr(ccxt.async_support, "binance", lambda _: venue.asynchronous())
    monkeypatch.setenv("BINANCE_API_KEY", "x")
    monkeypatch.setenv("BINANCE_SECRET", "x")
    monkeypatch.chdir(tmp_path)
    return venue


def run_example(name: str, monkeypatch: pytest.MonkeyPatch, day: str = "2026-11-21") -> None:
    """Run an example as a program."""
    monkeypatch.setattr(sys, "argv", [name, day])
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")


def test_the_plain_example_places_its_ladder_once_a_day(
    at_venue: Venue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every reply of the first run is lost. The second places nothing and prints the same; another day is another ladder."""
    at_venue.spoil(spoils.drop, spoils.truncate, spoils.status(504))
    run_example("plain_script.py", monkeypatch)
    first = capsys.readouterr().out
    run_example("plain_script.py", monkeypatch)
    assert capsys.readouterr().out == first
    assert first.count("open") == 6
    assert len(at_venue.orders()) == 3
    run_example("plain_script.py", monkeypatch, "2026-11-22")
    assert len(at_venue.orders()) == 6


def test_the_asynchronous_example_ends_where_it_ended(
    at_venue: Venue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three orders, one edited, all cancelled; a second run changes nothing and says the same."""
    at_venue.spoil(spoils.drop, spoils.drop)
    run_example("async_script.py", monkeypatch)
    first = capsys.readouterr().out
    assert first.count("canceled, 0.0 filled") == 3
    made = len(at_venue.orders())
    run_example("async_script.py", monkeypatch)
    assert len(at_venue.orders()) == made
    assert capsys.readouterr().out.count("canceled") == 3
    assert [order.status for order in at_venue.orders()].count("new") == 0


def script(page: str) -> str:
    """Return the script that stands on a page after the heading."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.search(rf"^{HEADING}$.*?^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None, page
    return found[1]


@pytest.mark.filterwarnings("ignore::onefill.DerivedKeyWarning")
@pytest.mark.parametrize("page", PAGES)
def test_the_script_of_the_documentation_buys_twice_without_the_line_and_once_with_it(
    at_venue: Venue, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reply to its first order is lost. All that differs is the one line; the script has ten."""
    lines = script(page).splitlines(keepends=True)
    guarded = [line for line in lines if "onefill.guard(" in line]
    assert len(guarded) == 1
    assert len([line for line in lines if line.strip()]) == 10
    at_venue.spoil(spoils.drop)
    exec(compile("".join(line for line in lines if line not in guarded), page, "exec"), {"__name__": "plain"})  # noqa: S102
    assert len(at_venue.orders()) == 2
    at_venue.spoil(spoils.drop)
    exec(compile("".join(lines), page, "exec"), scope := {"__name__": "guarded"})  # noqa: S102
    assert len(at_venue.orders()) == 3
    close(scope["exchange"])
    assert "again" in capsys.readouterr().out


def test_the_page_about_the_guard_has_the_script() -> None:
    """So that the test above has something to run."""
    assert "docs/guard.md" in PAGES


def close(exchange: Any) -> None:
    """Close what a script left open for the end of the program."""
    exchange.close()
