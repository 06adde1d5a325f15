"""Pages that are made from the code."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_lifecycle_page_is_what_the_table_says() -> None:
    """docs/lifecycle.md equals what scripts/lifecycle_doc.py makes from the table."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/lifecycle_doc.py"), "--check"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
