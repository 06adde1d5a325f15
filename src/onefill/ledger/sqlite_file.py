"""Opening a SQLite ledger file: what it is, whose it is, which version, and the settings durability rests on."""

import contextlib
import importlib.resources
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from onefill.core.errors import LedgerError, LedgerFailed, LedgerInUse, LedgerTooNew, NotALedger, require

APPLICATION_ID = 0x4F6E6566
"""``Onef`` in the file's header (SQLite ``application_id``)."""
VERSION = 4
"""The schema this code writes (SQLite ``user_version``). One file ``schema/NNNN.sql`` leads to each version."""
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
    """Open a ledger for writing, making it if the file does not exist or is empty, and bringing an older one up to date.

    ``seed`` (16 random bytes) is used only when the ledger is made. Raises :class:`NotALedger`, :class:`LedgerTooNew`,
    :class:`LedgerInUse`, or :class:`LedgerError` if the place cannot be written.
    """
    _refuse_other_places(path)
    connection = _connect(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE, vfs)
    lock = None
    try:
        _version(connection, path)  # before the lock, which leaves a file of its own beside
        lock = _lock(path)
        _check_or_make(connection, path, seed, at_us)
        _pragmas(connection)
        _fold_log(connection, path)
        connection.execute("UPDATE ledger SET opened_by = ?", (holder,))
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
    except BaseException as error:
        connection.close()
        if lock is not None:
            lock.close()
        if isinstance(error, apsw.Error):
            raise LedgerFailed(
                f"{path}: cannot be opened for writing ({type(error).__name__}: {error}). Nothing was sent; check the "
                "disk and the file's permissions, then open the ledger again"
            ) from error
        raise
    return LedgerFile(connection, lock, path)


def open_read_only(path: str, *, vfs: str | None = None) -> LedgerFile:
    """Open an existing ledger for reading, also while another process writes it.

    Raises :class:`NotALedger`, :class:`LedgerTooNew`, or :class:`LedgerError` if an older Onefill wrote it: reading must not
    change a file, so it is for the next writer to bring it up to date.
    """
    if not Path(path).exists():
        raise NotALedger(f"{path}: there is no such file. A ledger is made by the first run that writes to it")
    _refuse_other_places(path)
    connection = _connect(path, apsw.SQLITE_OPEN_READWRITE, vfs)
    try:
        version = _version(connection, path)
        if version is None:
            raise NotALedger(f"{path}: the file is empty; a ledger is made by the first run that writes to it")
        if version < VERSION:
            raise LedgerError(
                f"{path}: was written by an older Onefill (ledger version {version}, this one reads {VERSION}). It was left "
                "untouched; open it for writing once, as `onefill run` and `onefill serve` do: that brings it up to date "
                "and loses nothing"
            )
        connection.execute("PRAGMA query_only = 1; PRAGMA busy_timeout = 5000")
    except BaseException:
        connection.close()
        raise
    return LedgerFile(connection, None, path)


def version_of(path: str) -> int:
    """Return the version of the ledger in a file, 0 if there is none. Changes nothing. Raises as :func:`open_file`."""
    if not os.path.exists(path):
        return 0
    _refuse_other_places(path)
    connection = _connect(path, apsw.SQLITE_OPEN_READWRITE, None)
    try:
        return _version(connection, path) or 0
    finally:
        connection.close()


def _refuse_other_places(path: str) -> None:
    # The file itself is left to SQLite. To open and close it here would drop this process's locks on it (POSIX drops
    # them with any descriptor), and another program could then delete the log under a running writer.
    if os.path.isdir(path):
        raise NotALedger(f"{path}: is a folder, not a ledger; name a file")
    if os.path.exists(path) and not os.path.isfile(path):
        raise NotALedger(f"{path}: is a device or a pipe, not a ledger; name a file")
    if not os.path.isdir(os.path.dirname(os.path.realpath(path))):
        raise LedgerError(f"{path}: its folder does not exist; make it first")


def _lock(path: str) -> apsw.Connection:
    # A database of its own, so that readers of the ledger are not shut out. The epoch is what keeps the ledger right;
    # this lock only spares the first process from being fenced by somebody's mistake.
    try:
        lock = apsw.Connection(f"{os.path.realpath(path)}-owner")  # one lock by whatever link the file is named
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
        connection = _connect(path, apsw.SQLITE_OPEN_READWRITE, None)  # whatever version it is
        try:
            row = connection.execute("PRAGMA query_only = 1; SELECT opened_by FROM ledger").fetchone()
        finally:
            connection.close()
        if row and row[0]:
            return str(row[0])
    return "another process"


def _connect(path: str, flags: int, vfs: str | None) -> apsw.Connection:
    try:
        connection = apsw.Connection(path, flags=flags, vfs=vfs, statementcachesize=100)
        connection.set_busy_timeout(5000)
        # Until it is known to be a ledger that is ours to write, not even its log is folded into it.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.execute("PRAGMA schema_version").fetchall()  # forces the header to be read
    except apsw.NotADBError:
        raise NotALedger(
            f"{path}: is not a ledger (not a SQLite file), or its first page is damaged. It was left untouched; "
            "name another file, or restore a copy"
        ) from None
    except apsw.Error as error:
        raise LedgerError(f"{path}: cannot be opened: {error}") from error
    return connection


def _version(connection: apsw.Connection, path: str) -> int | None:
    """Return the schema version, or ``None`` for a database with nothing in it."""
    try:
        # One statement, one moment: another process may just be making the ledger.
        application, version, tables = one(
            connection,
            "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema) "
            "FROM pragma_application_id, pragma_user_version",
        )
    except apsw.Error as error:
        raise NotALedger(
            f"{path}: cannot be read as a ledger: {error}. It was left untouched; restore a copy"
        ) from error
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
        # One transaction, however many versions there are between: whatever happens, the file is of the old or the new one.
        connection.execute("PRAGMA synchronous = EXTRA; BEGIN EXCLUSIVE")
        for number in range((version or 0) + 1, VERSION + 1):
            connection.execute(_schema(number))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}")
        if version is None:
            connection.execute("INSERT INTO ledger (one, seed, created_at_us) VALUES (1, ?, ?)", (seed, at_us))
        connection.execute("COMMIT")
    except apsw.Error as error:
        if version is None:
            raise LedgerFailed(f"{path}: the ledger could not be made: {error}. Nothing was sent") from error
        raise LedgerFailed(
            f"{path}: the ledger could not be brought from version {version} to {VERSION} ({type(error).__name__}: {error}). "
            "It is as it was and nothing was sent; make room on the disk for a second copy of it, then open it again"
        ) from error


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


def _fold_log(connection: apsw.Connection, path: str) -> None:
    """Write what an earlier run left in the log into the file, and start the log anew.

    After a failed sync the system may show pages that never reached the disk, and report the next sync of them as good.
    A log that continued behind such pages would be cut there by a power loss. Written again, they are synced for good.
    """
    one(connection, "SELECT count(*) FROM sqlite_schema")  # after a renaming it is read anew, and that locks the log
    busy = one(connection, "PRAGMA wal_checkpoint(TRUNCATE)")[0]
    if busy:
        raise LedgerError(
            f"{path}: another program keeps reading it, so that its log cannot be folded in; stop that one"
        )
