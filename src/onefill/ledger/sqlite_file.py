"""Opening a SQLite ledger file: what it is, whose it is, which version, and the settings durability rests on."""

import contextlib
import importlib.resources
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from onefill.core.errors import LedgerError, LedgerFailed, LedgerInUse, LedgerTooNew, NotALedger, require

APPLICATION_ID = 0x4F6E6566
"""``Onef`` in the file's header (SQLite ``application_id``)."""
VERSION = 1
"""The schema this code writes (SQLite ``user_version``). One file ``schema/NNNN.sql`` leads to each version."""
_MAGIC = b"SQLite format 3\x00"
_CACHE_KIB = 8192


@contextlib.contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """Commit what the block writes, durably; undo it if the block or the commit raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def one(connection: apsw.Connection, statement: str, bindings: tuple[Any, ...] = ()) -> tuple[Any, ...]:
    """Return the one row that a statement always has."""
    row = connection.execute(statement, bindings).fetchone()
    require(row is not None, f"no row from {statement!r}")
    return tuple(row or ())


class LedgerFile:
    """An open ledger file. A writer also holds a lock that the operating system drops if the process dies."""

    def __init__(self, connection: apsw.Connection, lock: apsw.Connection | None, path: str) -> None:
        self.connection = connection
        self.path = path
        self._lock = lock

    def close(self) -> None:
        """Close the file and release the lock."""
        with contextlib.suppress(apsw.Error):
            self.connection.close()
        if self._lock is not None:
            with contextlib.suppress(apsw.Error):
                self._lock.close()


def open_file(path: str, *, seed: bytes, holder: str, at_us: int, vfs: str | None = None) -> LedgerFile:
    """Open a ledger for writing, making it if the file does not exist or is empty.

    ``seed`` (16 random bytes) is used only when the ledger is made. Raises :class:`NotALedger`, :class:`LedgerTooNew`,
    :class:`LedgerInUse`, or :class:`LedgerError` if the place cannot be written.
    """
    _refuse_other_files(path)
    lock = _lock(path)
    try:
        connection = _connect(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE, vfs)
        try:
            _check_or_make(connection, path, seed, at_us)
            _pragmas(connection)
            connection.execute("UPDATE ledger SET opened_by = ?", (holder,))
        except BaseException:
            connection.close()
            raise
    except BaseException:
        lock.close()
        raise
    return LedgerFile(connection, lock, path)


def open_read_only(path: str, *, vfs: str | None = None) -> LedgerFile:
    """Open an existing ledger for reading, also while another process writes it."""
    if not Path(path).exists():
        raise NotALedger(f"{path}: there is no such file. A ledger is made by the first run that writes to it")
    _refuse_other_files(path)
    connection = _connect(path, apsw.SQLITE_OPEN_READWRITE, vfs)
    try:
        if _version(connection, path) is None:
            raise NotALedger(f"{path}: the file is empty; a ledger is made by the first run that writes to it")
        connection.execute("PRAGMA query_only = 1; PRAGMA busy_timeout = 5000")
    except BaseException:
        connection.close()
        raise
    return LedgerFile(connection, None, path)


def _refuse_other_files(path: str) -> None:
    try:
        with open(path, "rb") as file:
            head = file.read(len(_MAGIC))
    except FileNotFoundError:
        if not Path(path).resolve().parent.is_dir():
            raise LedgerError(f"{path}: its folder does not exist; make it first") from None
        return
    except IsADirectoryError:
        raise NotALedger(f"{path}: is a folder, not a ledger; name a file") from None
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read: {error.strerror}") from error
    if head not in {b"", _MAGIC}:
        raise NotALedger(f"{path}: is not a ledger (not a SQLite file). It was left untouched; name another file")


def _lock(path: str) -> apsw.Connection:
    # A database of its own, so that readers of the ledger are not shut out. The epoch is what keeps the ledger right;
    # this lock only spares the first process from being fenced by somebody's mistake.
    try:
        lock = apsw.Connection(f"{path}-owner")
        lock.execute("BEGIN EXCLUSIVE")
    except apsw.BusyError:
        raise LedgerInUse(
            f"{path}: is in use by {_holder(path)}. Nothing was changed. "
            "Stop that process, or let it do the work; two writers of one ledger are never needed"
        ) from None
    except apsw.Error as error:
        raise LedgerError(f"{path}-owner: cannot be locked: {error}") from error
    return lock


def _holder(path: str) -> str:
    with contextlib.suppress(apsw.Error, LedgerError):
        file = open_read_only(path)
        try:
            row = file.connection.execute("SELECT opened_by FROM ledger").fetchone()
        finally:
            file.close()
        if row and row[0]:
            return str(row[0])
    return "another process"


def _connect(path: str, flags: int, vfs: str | None) -> apsw.Connection:
    try:
        connection = apsw.Connection(path, flags=flags, vfs=vfs, statementcachesize=100)
        connection.execute("PRAGMA schema_version").fetchall()  # forces the header to be read
    except apsw.NotADBError:
        raise NotALedger(f"{path}: is not a ledger, or its first page is damaged. It was left untouched") from None
    except apsw.Error as error:
        raise LedgerError(f"{path}: cannot be opened: {error}") from error
    return connection


def _version(connection: apsw.Connection, path: str) -> int | None:
    """Return the schema version, or ``None`` for a database with nothing in it."""
    try:
        application = connection.pragma("application_id")
        version = connection.pragma("user_version")
        tables = one(connection, "SELECT count(*) FROM sqlite_schema")[0]
    except apsw.Error as error:
        raise NotALedger(f"{path}: cannot be read as a ledger: {error}. It was left untouched") from error
    if not application and not version and not tables:
        return None
    if application != APPLICATION_ID:
        raise NotALedger(f"{path}: is a SQLite database of another program. It was left untouched; name another file")
    if version > VERSION:
        raise LedgerTooNew(
            f"{path}: was written by a newer Onefill (ledger version {version}, this one knows {VERSION}). "
            "It was left untouched; install the newer Onefill"
        )
    return int(version)


def _check_or_make(connection: apsw.Connection, path: str, seed: bytes, at_us: int) -> None:
    version = _version(connection, path)
    if version == VERSION:
        return
    try:
        connection.execute("PRAGMA synchronous = EXTRA; BEGIN EXCLUSIVE")
        for number in range((version or 0) + 1, VERSION + 1):
            connection.execute(_schema(number))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}")
        if version is None:
            connection.execute("INSERT INTO ledger (one, seed, created_at_us) VALUES (1, ?, ?)", (seed, at_us))
        connection.execute("COMMIT")
    except apsw.Error as error:
        raise LedgerFailed(f"{path}: the ledger could not be made: {error}. Nothing was sent") from error


def _schema(number: int) -> str:
    return importlib.resources.files("onefill.ledger").joinpath(f"schema/{number:04d}.sql").read_text("utf-8")


def _pragmas(connection: apsw.Connection) -> None:
    """Set what NO-LOSS rests on: a commit returns once the log is on the disk itself."""
    mode = connection.pragma("journal_mode", "wal")
    if not re.fullmatch("wal", str(mode), re.IGNORECASE):
        raise LedgerError(f"the file system under the ledger does not allow write-ahead logging (got {mode!r})")
    connection.execute(
        "PRAGMA synchronous = FULL; PRAGMA fullfsync = 1; PRAGMA checkpoint_fullfsync = 1; PRAGMA busy_timeout = 5000;"
        f"PRAGMA cache_size = -{_CACHE_KIB}; PRAGMA wal_autocheckpoint = 4000; PRAGMA trusted_schema = 0"
    )
