"""The suite of venue adapters is used by another project's tests, as its page shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import onefill

PAGE = Path(__file__).parents[2] / "docs" / "venues" / "adapter.md"


def test_the_example_of_the_page_runs_in_a_project_of_its_own(tmp_path: Path) -> None:
    """pytest collects the subclass; what the kit can do passes, and what it cannot is reported with its reason."""
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "test_my_venue.py").write_text(example)
    paths = os.pathsep.join([str(Path(onefill.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-rs",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(tmp_path),
            str(tmp_path),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    passed, skipped = re.findall(r"(\d+) passed, (\d+) skipped", ran.stdout)[0]
    assert (int(passed), int(skipped)) == (32, 9), ran.stdout
    assert "is not shown: the kit cannot lose_reply: a call in this process has no wire" in ran.stdout
