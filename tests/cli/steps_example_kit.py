"""Runs a script again and again in processes that kill themselves at one of its lines, each in a folder of its own.

Usage: steps_example_kit.py SCRIPT FOLDER URL ACCOUNT. For N = 1, 2, …: the script dies at the N-th line that it
reaches, then runs to its end, with its output in ``out.1``. Ends with the first N that is beyond the last line.
"""

import os
import signal
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import onefill
import onefill.sync

_MOST_LINES = 500


def run(code: CodeType, die_at: int | None) -> None:
    """Run the script, and kill this process as soon as it has reached so many lines."""
    reached = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal reached
        if frame.f_code.co_filename != code.co_filename:
            return None
        if event == "line":
            reached += 1
            if reached == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    exec(code, {"__name__": "__main__"})  # noqa: S102 - the page's own example
    sys.settrace(None)


def child(code: CodeType, arguments: list[str], folder: Path, out: str, die_at: int | None) -> int:
    """Run the script in a process of its own, and return how that ended."""
    process = os.fork()
    if process:
        return os.waitpid(process, 0)[1]
    status = 1
    try:
        os.chdir(folder)
        sys.argv = ["example.py", *arguments]
        sys.stdout = open(out, "w")  # noqa: SIM115 - open until the process ends
        run(code, die_at)
        sys.stdout.flush()
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """See the module's text."""
    script, place, url, account = sys.argv[1:]
    assert onefill.ExchangeVenue  # imported once, for all of them
    code = compile(Path(script).read_text("utf-8"), "example.py", "exec")
    for line in range(1, _MOST_LINES):
        folder = Path(place) / str(line)
        folder.mkdir()
        arguments = [url, f"{account}-{line}", f"key {line}"]
        killed = child(code, arguments, folder, "out.0", line)
        ended = child(code, arguments, folder, "out.1", None)
        sys.stdout.write(f"{line} {killed} {ended}\n")
        sys.stdout.flush()
        if killed == 0:
            return


if __name__ == "__main__":
    main()
