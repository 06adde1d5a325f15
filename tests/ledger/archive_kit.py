"""A PostgreSQL ledger with a few days of orders behind it, its signer, and its archive's folder."""

from decimal import Decimal
from pathlib import Path

from postgres_days_kit import DAY, connected, made, owner_of

from onefill.core.audit import DAY_US
from onefill.core.order import Order
from onefill.ledger.postgres import PostgresLedger
from onefill.service.archive import ArchiveDone, Terms, archive
from onefill.service.audit import Audit, verify
from onefill.service.audit_checkpoints import Checkpointer
from onefill.service.audit_marks import Outside
from onefill.service.replay import replay
from onefill.service.signing import PublicKeys, Signer, load_public, load_signer, make_keys
from onefill.service.wiring import open_for_reading
from onefill.testing.ledger_kit import Owner, accepted, ack

ROUTES = ("alpha", "beta")
DAYS = 3
ORDERS = 4
"""Of each route on each day."""
ENTRIES = 3
"""Of each order: recorded, acknowledged, filled."""


class Clock:
    """A clock that shows the morning after."""

    def now_us(self) -> int:
        """Return the time."""
        return (DAY + DAYS) * DAY_US


class Archive:
    """The folder of a test: the signer's keys in it, and the archive."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder / "archive"
        self.folder.mkdir()
        key = folder / "key.pem"
        _, self.public = make_keys(key)
        self.signer: Signer = load_signer(key)
        self.keys = PublicKeys([load_public(self.public)])

    async def sign(self, ledger: PostgresLedger) -> None:
        """Make a checkpoint of every route."""
        await Checkpointer(self.signer, None, Clock()).make(ledger)

    async def archive(self, before: int, **terms: bool) -> ArchiveDone:
        """Archive the days before ``before``, with the signer's keys."""
        return await archive(self.url, before, self.folder, Terms(keys=self.keys, **terms))

    async def verify(self, *, whole: bool, outside: Outside | None = None) -> Audit:
        """Verify the ledger; ``whole``: together with its archive."""
        async with open_for_reading(self.url, self.folder if whole else None) as store:
            return await verify(store, keys=self.keys, outside=outside)

    async def replays(self) -> bool:
        """Tell whether the journal, archived days and all, replays to what is stored."""
        async with open_for_reading(self.url, self.folder) as store:
            found = await replay(store, list(ROUTES), times=2)
            return all(one.parity for one, _ in found)

    async def files(self) -> list[str]:
        """Return the names of the archive's files."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*.ndjson.xz"))


async def trade_a_day(owner: Owner, day: int, tag: str = "") -> list[Order]:
    """Record, acknowledge and fill this day's orders of a route. ``tag``: makes other keys for the same day."""
    owner.at_us = day * DAY_US
    found = []
    for number in range(ORDERS):
        name = f"{owner.lease.route}-{day}{tag}-{number}"
        order = await owner.put(owner.record(name))
        order = await owner.put(owner.move(order, accepted(), ack(f"V{name}")))
        fill = owner.fill(order, f"E{name}", venue_order_id=f"V{name}", quantity=Decimal(100))
        found.append(await owner.put(fill))
    assert all(order.closed for order in found)
    return found


async def fill_days(archive: Archive, *, sign: bool = True, days: int = DAYS) -> list[Order]:
    """Make the ledger, with every route's orders of each day, and a checkpoint behind the last one."""
    orders: list[Order] = []
    async with made(archive.url, *range(DAY, DAY + days)) as ledger:
        owners = [await owner_of(ledger, DAY, route) for route in ROUTES]
        for day in range(DAY, DAY + days):
            for owner in owners:
                orders += await trade_a_day(owner, day)
        if sign:
            await archive.sign(ledger)
    return orders


async def days_left(url: str) -> list[int]:
    """Return the days that the journal holds entries of."""
    async with connected(url) as db:
        return [row[0] for row in await db.fetch("SELECT DISTINCT day FROM journal ORDER BY day")]
