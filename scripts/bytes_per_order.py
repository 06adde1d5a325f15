"""How many bytes a ledger keeps of each order, table by table: ``python scripts/bytes_per_order.py [POSTGRESQL-URL]``.

Writes orders as a gateway does (recorded with its claim, accepted, filled by one execution) into a new SQLite file and, with
a URL, into a schema of its own on PostgreSQL, which is dropped at the end. Indexes count with their tables.
"""

import asyncio
import collections
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import apsw
import asyncpg

from onefill.ledger.postgres import PostgresLedger
from onefill.ledger.postgres_schema import migrate
from onefill.ledger.postgres_settings import place_of
from onefill.ledger.sqlite import SqliteLedger
from onefill.ports.ledger import Ledger
from onefill.testing.ledger_kit import Owner, accepted, ack, latest

ORDERS = 20_000
SCHEMA = "bytes_per_order"


async def write(ledger: Ledger, at_us: int) -> None:
    """Write so many orders, each closed."""
    owner = Owner(ledger, await ledger.acquire("exchange:main", "measure", at_us))
    owner.at_us = at_us
    for start in range(0, ORDERS, 500):
        changes = []
        for number in range(start, start + 500):
            life = [owner.record(f"momentum-20261121-{number:06d}")]
            life.append(owner.move(latest(life), accepted(), ack(f"V{number:012d}")))
            trade = {"venue_order_id": f"V{number:012d}", "quantity": Decimal(100)}
            changes += [*life, owner.fill(latest(life), f"T{number:012d}", **trade)]
        await owner.commit(*changes)


async def of_sqlite(folder: Path, at_us: int) -> dict[str, float]:
    """Return bytes for each order by table."""
    path = folder / "orders.db"
    ledger = await SqliteLedger.open(str(path), seed=bytes(16), holder="measure", at_us=at_us)
    await write(ledger, at_us)
    await ledger.close()
    db = apsw.Connection(str(path))
    owners = dict(db.execute("SELECT name, tbl_name FROM sqlite_schema"))
    found: dict[str, float] = collections.Counter()
    for name, size in db.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name"):
        found[owners.get(name, name)] += size / ORDERS
    return found


async def of_postgres(url: str, at_us: int) -> dict[str, float]:
    """Return bytes for each order by table."""
    given = f"{url}{'&' if '?' in url else '?'}schema={SCHEMA}"
    admin = await asyncpg.connect(place_of(given).url)
    try:
        await admin.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        await migrate(place_of(given), seed=bytes(16), at_us=at_us)
        ledger = await PostgresLedger.open(given, holder="measure")
        await write(ledger, at_us)
        await ledger.close()
        rows = await admin.fetch(
            "SELECT relname, pg_total_relation_size(c.oid) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace "
            "WHERE nspname = $1 AND relkind = 'r'",
            SCHEMA,
        )
        found: dict[str, float] = collections.Counter()
        for name, size in rows:
            found["journal" if name.startswith("journal_2") else name] += size / ORDERS
        return found
    finally:
        await admin.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        await admin.close()


def show(name: str, found: dict[str, float]) -> None:
    """Print a ledger's figures, the largest first."""
    everything = sum(found.values())
    lines = [f"{name}: bytes for each of {ORDERS:,} orders (one execution each)"]
    lines += [
        f"  {table:12} {size:7,.0f}" for table, size in sorted(found.items(), key=lambda item: -item[1]) if size >= 1
    ]
    lines.append(f"  {'all':12} {everything:7,.0f}, without the journal {everything - found['journal']:,.0f}")
    sys.stdout.write("\n".join(lines) + "\n")


def main() -> None:
    """Measure, and print."""
    at_us = time.time_ns() // 1000
    with tempfile.TemporaryDirectory() as folder:
        show("SQLite", asyncio.run(of_sqlite(Path(folder), at_us)))
    if len(sys.argv) > 1:
        show("PostgreSQL", asyncio.run(of_postgres(sys.argv[1], at_us)))


if __name__ == "__main__":
    main()
