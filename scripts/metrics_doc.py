"""Renew the tables of docs/metrics.md from the definitions, so that page and code cannot drift."""

from pathlib import Path

from onefill.core.metrics import renewed

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"

if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text("utf-8")), "utf-8")
