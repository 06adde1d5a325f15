-- The ledger, version 1. CHECK and UNIQUE repeat the core's invariants, so that no program error can write past them.

CREATE TABLE ledger (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seed BLOB NOT NULL CHECK (length(seed) = 16),           -- goes into client order ids: no two ledgers make the same
    created_at_us INTEGER NOT NULL,
    opened_by TEXT NOT NULL DEFAULT '',
    folded_through INTEGER NOT NULL DEFAULT 0               -- executions already in the table position
) STRICT;

CREATE TABLE route (
    id INTEGER PRIMARY KEY CHECK (id > 0 AND id < 4194304), -- 22 bits above the 40 of an intent's number
    name TEXT NOT NULL UNIQUE,
    epoch INTEGER NOT NULL CHECK (epoch > 0),
    holder TEXT NOT NULL,
    venue TEXT NOT NULL DEFAULT '',                         -- which venue it is, by the venue's own word
    acquired_at_us INTEGER NOT NULL,
    last_number INTEGER NOT NULL DEFAULT 0 CHECK (last_number >= 0),
    last_sequence INTEGER NOT NULL DEFAULT 0 CHECK (last_sequence >= 0),
    head BLOB NOT NULL CHECK (length(head) = 32)            -- hash of the journal's last entry
) STRICT;

-- One row per intent, which is also its order.
CREATE TABLE intent (
    id INTEGER PRIMARY KEY,
    route INTEGER NOT NULL,
    key_digest BLOB NOT NULL CHECK (length(key_digest) = 16),
    account TEXT NOT NULL,
    strategy TEXT NOT NULL,
    key TEXT NOT NULL,
    client_order_id TEXT NOT NULL,
    fingerprint_version INTEGER NOT NULL,
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    body TEXT NOT NULL,
    recorded_at_us INTEGER NOT NULL,
    valid_until_us INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('recorded', 'sending', 'uncertain', 'pending_new', 'new', 'partially_filled',
        'pending_cancel', 'filled', 'canceled', 'rejected', 'expired', 'expired_unsent', 'canceled_unsent')),
    version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
    cum_quantity TEXT NOT NULL DEFAULT '0',
    venue_cum_quantity TEXT NOT NULL DEFAULT '0',
    venue_order_id TEXT,
    reason TEXT,
    anomaly TEXT,
    parked INTEGER NOT NULL DEFAULT 0 CHECK (parked IN (0, 1)),
    cancel_wanted INTEGER NOT NULL DEFAULT 0 CHECK (cancel_wanted IN (0, 1)),
    closed INTEGER NOT NULL DEFAULT 0 CHECK (closed IN (0, 1)),
    answer TEXT,
    CHECK (answer IS NOT NULL OR status IN ('recorded', 'sending', 'uncertain', 'pending_new')),
    CHECK (closed = 0 OR status IN ('filled', 'canceled', 'rejected', 'expired', 'expired_unsent', 'canceled_unsent')),
    CHECK (parked = 0 OR status = 'uncertain')
) STRICT;
CREATE UNIQUE INDEX intent_by_key ON intent (key_digest);
CREATE UNIQUE INDEX intent_by_client_order_id ON intent (route, client_order_id);
CREATE INDEX intent_open ON intent (route) WHERE closed = 0;

-- One row per copy of an order, or of its cancel, that was claimed for sending.
CREATE TABLE attempt (
    intent_id INTEGER NOT NULL,
    cancels INTEGER NOT NULL CHECK (cancels IN (0, 1)),
    number INTEGER NOT NULL CHECK (number > 0),
    epoch INTEGER NOT NULL,
    claimed_at_us INTEGER NOT NULL,
    expires_at_us INTEGER,
    outcome TEXT CHECK (outcome IN ('accepted', 'rejected', 'duplicate', 'too_late', 'throttled', 'not_sent', 'unknown',
        'absent')),
    reason TEXT,
    retry_at_us INTEGER,                                    -- not before, by the venue's word
    PRIMARY KEY (intent_id, cancels, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE operation (
    id INTEGER PRIMARY KEY,
    key_digest BLOB NOT NULL CHECK (length(key_digest) = 16),
    operation_key TEXT NOT NULL,
    account TEXT NOT NULL,
    strategy TEXT NOT NULL,
    key TEXT NOT NULL,
    intent_id INTEGER,
    requested_at_us INTEGER NOT NULL,
    answer TEXT,
    UNIQUE (key_digest, operation_key),
    CHECK (answer IS NOT NULL OR intent_id IS NOT NULL)
) STRICT;
CREATE INDEX operation_waiting ON operation (intent_id) WHERE answer IS NULL;

-- The execution log: what positions are computed from. intent_id is NULL for an order that nobody here sent.
CREATE TABLE execution (
    id INTEGER PRIMARY KEY,
    route INTEGER NOT NULL,
    scope TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    intent_id INTEGER,
    account TEXT NOT NULL,
    strategy TEXT NOT NULL,
    instrument TEXT NOT NULL,
    side TEXT NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity TEXT NOT NULL,
    price TEXT NOT NULL,
    client_order_id TEXT NOT NULL,
    venue_order_id TEXT NOT NULL,
    transacted_at_us INTEGER NOT NULL,
    recorded_at_us INTEGER NOT NULL,
    UNIQUE (route, scope, execution_id)
) STRICT;
CREATE INDEX execution_by_intent ON execution (intent_id);

-- A projection of the log above; may be dropped and rebuilt at any time.
CREATE TABLE position (
    account TEXT NOT NULL,
    strategy TEXT NOT NULL,
    venue TEXT NOT NULL,
    instrument TEXT NOT NULL,
    bought TEXT NOT NULL,
    sold TEXT NOT NULL,
    bought_value TEXT NOT NULL,
    sold_value TEXT NOT NULL,
    executions INTEGER NOT NULL,
    PRIMARY KEY (account, strategy, venue, instrument)
) STRICT, WITHOUT ROWID;

CREATE TABLE cursor (
    route INTEGER NOT NULL,
    stream TEXT NOT NULL,
    position INTEGER NOT NULL CHECK (position >= 0),
    PRIMARY KEY (route, stream)
) STRICT, WITHOUT ROWID;

-- Append-only, hash-chained per route. Also the source for subscribers: an entry is its own outbox row.
-- id is the route's number above 40 bits, the entry's sequence on the route below them.
CREATE TABLE journal (
    id INTEGER PRIMARY KEY,
    intent_id INTEGER,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    previous_hash BLOB NOT NULL CHECK (length(previous_hash) = 32),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE INDEX journal_by_intent ON journal (intent_id) WHERE intent_id IS NOT NULL;
CREATE TRIGGER journal_is_append_only_update BEFORE UPDATE ON journal BEGIN
    SELECT raise(ABORT, 'the journal is append-only');
END;
CREATE TRIGGER journal_is_append_only_delete BEFORE DELETE ON journal BEGIN
    SELECT raise(ABORT, 'the journal is append-only');
END;
CREATE TRIGGER execution_is_append_only_update BEFORE UPDATE ON execution BEGIN
    SELECT raise(ABORT, 'executions are append-only');
END;
CREATE TRIGGER execution_is_append_only_delete BEFORE DELETE ON execution BEGIN
    SELECT raise(ABORT, 'executions are append-only');
END;
