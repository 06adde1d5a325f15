"""The demo, small: what it prints, what it writes, and that it can condemn."""

import json
import subprocess
import sys
from pathlib import Path

KEYS = {"intents", "attempts", "naive", "onefill", "broken_promises"}


def test_the_demo_shows_duplicates_on_the_naive_side_only(tmp_path: Path) -> None:
    """Over the same faults the naive client makes duplicates, and Onefill, killed twice with -9, one order for each intent."""
    command = [sys.executable, "-m", "onefill", "demo", "--intents", "200", "--kills", "2", "--json"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told.keys() >= KEYS
    assert told["broken_promises"] == []
    assert told["intents"] == told["onefill"]["venue_orders"] == 200
    assert told["onefill"]["duplicates"] == told["onefill"]["missing"] == 0
    assert told["onefill"]["position_error"] == "0"
    assert told["naive"]["duplicates"] > 0
    assert told["naive"]["venue_orders"] == 200 + told["naive"]["duplicates"] - told["naive"]["missing"]
    page = (tmp_path / "demo.html").read_text(encoding="utf-8")
    assert "<svg" in page
    for outside in ("http://", "https://", "<script", "<link", "@import"):
        assert outside not in page.replace("http://www.w3.org/2000/svg", ""), outside
