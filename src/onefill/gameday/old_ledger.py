"""Ledgers with a past: rows as the gateway writes them, in any number, with a chain that verifies."""

import hashlib
from collections.abc import Iterator
from decimal import Decimal

import apsw

from onefill.core.audit import GENESIS, entry_hash
from onefill.core.identity import key_digest
from onefill.core.intent import FINGERPRINT_VERSION, Intent, canonical, fingerprint
from onefill.core.values import Side
from onefill.ports.ledger import INTENT_NUMBER_BITS

_AT_US = 1_760_000_000_000_000
_ROUTE_ID = 1
_STATE = (
    "status, version, cum_quantity, venue_cum_quantity, venue_order_id, reason, anomaly, parked, cancel_wanted, "
    "closed, answer"
)
SUBMIT_STATEMENTS = (
    "INSERT INTO intent (id, route, key_digest, account, strategy, key, client_order_id, fingerprint_version, fingerprint, "
    "body, recorded_at_us, valid_until_us, status) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "INSERT INTO attempt (intent_id, kind, number, epoch, claimed_at_us, expires_at_us) VALUES (?, 0, 1, 1, ?, ?)",
    "INSERT INTO journal (id, intent_id, kind, payload, at_us, epoch, previous_hash, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    "UPDATE route SET last_number = ?, last_sequence = ?, head = ? WHERE id = ?",
)
"""The rows of one submit: intent, claim, journal entry, and the route's head."""

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
    """Yield what ``SUBMIT_STATEMENTS`` take for one submit after another, from intent number ``first`` + 1 on."""
    number, head = first, GENESIS
    while True:
        number += 1
        intent_id = _ROUTE_ID << INTENT_NUMBER_BITS | number
        payload, at_us = _payload(number), _AT_US + number
        made = entry_hash(head, "bench", number, intent_id, "recorded", payload, at_us, 1)
        yield (
            _intent_row(number, "sending", _key(number, random_keys=False)),
            (intent_id, at_us, at_us + 2_000_000),
            (_ROUTE_ID << INTENT_NUMBER_BITS | number, intent_id, "recorded", payload, at_us, 1, head, made),
            (number, number, made, _ROUTE_ID),
        )
        head = made


def fill(db: apsw.Connection, route: str, count: int, *, random_keys: bool = False) -> None:
    """Give a fresh ledger a route with ``count`` old intents: cancelled orders, each with its copy and its entries.

    ``random_keys``: keys without any order, as hashes and UUIDs are; otherwise they rise.
    """
    db.execute("BEGIN IMMEDIATE")
    db.execute(
        "INSERT INTO route (id, name, epoch, holder, acquired_at_us, last_number, head) VALUES (?, ?, 1, 'bench', 0, ?, ?)",
        (_ROUTE_ID, route, count, GENESIS),
    )
    marks = ", ".join("?" * 23)
    insert = SUBMIT_STATEMENTS[0].split("status)")[0] + f"{_STATE}) VALUES ({marks})"
    answer = '{"key":"old","client_order_id":"bench-20251009-00001-1-chk","status":"new","cum_quantity":"0"}'
    state = (2, "0", "0", "X1", None, None, 0, 0, 1, answer)
    db.executemany(
        insert, ((*_intent_row(n, "canceled", _key(n, random_keys=random_keys)), *state) for n in range(1, count + 1))
    )
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

    db.executemany(
        "INSERT INTO attempt (intent_id, kind, number, epoch, claimed_at_us, expires_at_us, outcome) "
        "VALUES (?, 0, 1, 1, ?, ?, 'accepted')",
        ((_ROUTE_ID << INTENT_NUMBER_BITS | n, _AT_US + n, _AT_US + n + 2_000_000) for n in range(1, count + 1)),
    )
    db.executemany(SUBMIT_STATEMENTS[2], entries())
    db.execute("UPDATE route SET last_sequence = ?, head = ? WHERE id = ?", (sequence, head, _ROUTE_ID))
    db.execute("COMMIT")
