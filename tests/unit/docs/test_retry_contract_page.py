"""The page on the retry contract is made from the rules and the profiles."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_retry_contract_page_is_what_the_rules_say() -> None:
    """docs/retry-contract.md equals what scripts/retry_contract_doc.py makes from next_step and the venue profiles."""
    script = str(ROOT / "scripts/retry_contract_doc.py")
    done = subprocess.run([sys.executable, script, "--check"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
