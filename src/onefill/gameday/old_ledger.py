"""Ledgers with a past: rows as the gateway writes them, in any number, with a chain that verifies."""

import hashlib
from collections.abc import Iterable, Iterator
from decimal import Decimal

import msgspec

from onefill.core.answers import Answer
from onefill.core.audit import GENESIS, entry_hash
from onefill.core.identity import key_digest
from onefill.core.intent import FINGERPRINT_VERSION, Intent, canonical, fingerprint
from onefill.core.lifecycle import Status
from onefill.core.values import Side
from onefill.ports.ledger import INTENT_NUMBER_BITS

_AT_US = 1_760_000_000_000_000
_ROUTE_ID = 1
_STATE = (
    "version, cum_quantity, venue_cum_quantity, venue_order_id, reason, anomaly, parked, cancel_wanted, closed, answer"
)


class Table(msgspec.Struct, frozen=True):
    """Rows for one table, in the order of ``columns``. They may be made as they are read, once."""

    name: str
    columns: str
    rows: Iterable[tuple[object, ...]]


INTENT_COLUMNS = (
    "id, route, key_digest, account, strategy, key, client_order_id, fingerprint_version, fingerprint, body, recorded_at_us, "
    "valid_until_us, status"
)
CLAIM_COLUMNS = "intent_id, kind, number, epoch, claimed_at_us, expires_at_us"
JOURNAL_COLUMNS = "id, intent_id, kind, payload, at_us, epoch, previous_hash, hash"
ROUTE_COLUMNS = "id, name, epoch, holder, acquired_at_us, last_number, last_sequence, head"

_BODY = canonical(
    Intent(
        account="bench",
        strategy="bench",
        instrument="BTC-USD",
        side=Side.BUY,
        quantity=Decimal("1.5"),
        price=Decimal("200.1"),
        venue="bench",
    )
)
_FINGERPRINT = fingerprint(_BODY)
_ANSWER = Answer(
    key="old",
    account="bench",
    strategy="bench",
    venue="bench",
    client_order_id="bench-20251009-00001-1-chk",
    venue_order_id="X1",
    status=Status.CANCELED,
    cum_quantity="0",
    reason=None,
    answered_at_us=_AT_US,
)


def _key(number: int, *, random_keys: bool) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:32] if random_keys else f"old-{number:010d}"


def _intent_row(number: int, status: str, key: str) -> tuple[object, ...]:
    return (
        _ROUTE_ID << INTENT_NUMBER_BITS | number,
        _ROUTE_ID,
        key_digest("bench", "bench", key),
        "bench",
        "bench",
        key,
        f"bench-20251009-0000{1}-{number}-chk",
        FINGERPRINT_VERSION,
        _FINGERPRINT,
        _BODY.decode(),
        _AT_US + number,
        _AT_US + number + 30_000_000,
        status,
    )


def _payload(number: int) -> str:
    recorded = '{"type":"recorded","key":"old","client_order_id":"bench-20251009-00001-1-chk","intent":'
    claimed = f'{{"type":"claimed","number":1,"expires_at_us":{_AT_US + number + 2_000_000}}}'
    return f'[{recorded}{_BODY.decode()},"valid_until_us":{_AT_US + number + 30_000_000}}},{claimed}]'


def submit_rows(first: int) -> Iterator[tuple[tuple[object, ...], ...]]:
    """Yield the rows of one submit after another, from intent number ``first`` + 1 on: intent, claim, journal entry, and the
    route's (last number, last sequence, head, id).
    """
    number, head = first, GENESIS
    while True:
        number += 1
        intent_id = _ROUTE_ID << INTENT_NUMBER_BITS | number
        payload, at_us = _payload(number), _AT_US + number
        made = entry_hash(head, "bench", number, intent_id, "recorded", payload, at_us, 1)
        yield (
            _intent_row(number, "sending", _key(number, random_keys=False)),
            (intent_id, 0, 1, 1, at_us, at_us + 2_000_000),
            (_ROUTE_ID << INTENT_NUMBER_BITS | number, intent_id, "recorded", payload, at_us, 1, head, made),
            (number, number, made, _ROUTE_ID),
        )
        head = made


def old_rows(route: str, count: int, *, random_keys: bool = False) -> list[Table]:
    """Return what a ledger holds after ``count`` old intents on a route: cancelled orders, each with its copy and entries.

    ``random_keys``: keys without any order, as hashes and UUIDs are; otherwise they rise. The rows are to be read in this
    order, each table's once.
    """
    answer = msgspec.json.encode(_ANSWER).decode()
    state = (2, "0", "0", "X1", None, None, 0, 0, 1, answer)
    head, sequence = GENESIS, 0

    def entries() -> Iterator[tuple[object, ...]]:
        nonlocal head, sequence
        for number in range(1, count + 1):
            intent_id, at_us = _ROUTE_ID << INTENT_NUMBER_BITS | number, _AT_US + number
            for kind, payload in (
                ("recorded", _payload(number)),
                ("canceled", '[{"type":"canceled","source":"reply"}]'),
            ):
                sequence += 1
                made = entry_hash(head, route, sequence, intent_id, kind, payload, at_us, 1)
                yield (_ROUTE_ID << INTENT_NUMBER_BITS | sequence, intent_id, kind, payload, at_us, 1, head, made)
                head = made

    def routes() -> Iterator[tuple[object, ...]]:
        yield (_ROUTE_ID, route, 1, "bench", 0, count, sequence, head)

    numbers = range(1, count + 1)
    return [
        Table(
            "intent",
            f"{INTENT_COLUMNS}, {_STATE}",
            ((*_intent_row(n, "canceled", _key(n, random_keys=random_keys)), *state) for n in numbers),
        ),
        Table(
            "attempt",
            f"{CLAIM_COLUMNS}, outcome",
            (
                (_ROUTE_ID << INTENT_NUMBER_BITS | n, 0, 1, 1, _AT_US + n, _AT_US + n + 2_000_000, "accepted")
                for n in numbers
            ),
        ),
        Table("journal", JOURNAL_COLUMNS, entries()),
        Table("route", ROUTE_COLUMNS, routes()),
    ]
