"""What all tests share: a process that stays as it was, and one PostgreSQL server for those that need a database."""

import gc
import hashlib
import sys
from collections.abc import Iterator

import pytest

from onefill.testing.postgres import PostgresServer, server_folder


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """Undo what a command does to the process that it runs in: elsewhere it is the only one there."""
    thresholds, interval_s = gc.get_threshold(), sys.getswitchinterval()
    yield
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(interval_s)
    gc.unfreeze()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Run a server that waits for the disk: a ledger refuses any other."""
    with server_folder() as folder, PostgresServer.running(folder / "server") as server:
        yield server


@pytest.fixture(scope="session")
def newest_postgres() -> Iterator[PostgresServer]:
    """Run the same of the newest version that a ledger is made for."""
    with server_folder() as folder, PostgresServer.running(folder / "newest", version=18) as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of an empty database that no other test uses."""
    name = "test_" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    yield postgres.create_database(name)
    postgres.drop_database(name)
