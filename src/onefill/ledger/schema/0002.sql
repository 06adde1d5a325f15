-- From version 1 to 2: replacing orders, the last moment at which a request's bytes can leave, parking in more states, leases.
-- A CHECK cannot be changed in place: the tables intent and attempt are made anew and filled from the old ones.

CREATE TABLE intent_2 (
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
        'pending_replace', 'pending_cancel', 'filled', 'canceled', 'rejected', 'expired', 'expired_unsent',
        'canceled_unsent')),
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
    CHECK (answer IS NOT NULL OR status IN ('recorded', 'sending', 'uncertain', 'pending_new', 'pending_cancel')),
    CHECK (closed = 0 OR status IN ('filled', 'canceled', 'rejected', 'expired', 'expired_unsent', 'canceled_unsent')),
    CHECK (parked = 0 OR status IN ('recorded', 'uncertain', 'pending_new', 'new', 'partially_filled', 'pending_replace',
        'pending_cancel'))
) STRICT;
INSERT INTO intent_2 (id, route, key_digest, account, strategy, key, client_order_id, fingerprint_version, fingerprint, body,
    recorded_at_us, valid_until_us, status, version, cum_quantity, venue_cum_quantity, venue_order_id, reason, anomaly, parked,
    cancel_wanted, closed, answer)
SELECT id, route, key_digest, account, strategy, key, client_order_id, fingerprint_version, fingerprint, body,
    recorded_at_us, valid_until_us, status, version, cum_quantity, venue_cum_quantity, venue_order_id, reason, anomaly, parked,
    cancel_wanted, closed, answer FROM intent ORDER BY id;
DROP TABLE intent;
ALTER TABLE intent_2 RENAME TO intent;
CREATE UNIQUE INDEX intent_by_key ON intent (key_digest);
CREATE UNIQUE INDEX intent_by_client_order_id ON intent (route, client_order_id);
CREATE INDEX intent_open ON intent (route) WHERE closed = 0;

-- One row per copy of a request that was claimed for sending: of an order, its cancel or a replace of it.
CREATE TABLE attempt_2 (
    intent_id INTEGER NOT NULL,
    kind INTEGER NOT NULL CHECK (kind IN (0, 1, 2)),        -- 0 submit, 1 cancel, 2 replace
    number INTEGER NOT NULL CHECK (number > 0),
    epoch INTEGER NOT NULL,
    claimed_at_us INTEGER NOT NULL,
    expires_at_us INTEGER,
    leaves_by_us INTEGER,                                   -- the last moment at which its bytes can leave here
    outcome TEXT CHECK (outcome IN ('accepted', 'rejected', 'duplicate', 'too_late', 'throttled', 'not_sent', 'unknown',
        'absent')),
    reason TEXT,
    retry_at_us INTEGER,                                    -- not before, by the venue's word
    PRIMARY KEY (intent_id, kind, number)
) STRICT, WITHOUT ROWID;
INSERT INTO attempt_2 (intent_id, kind, number, epoch, claimed_at_us, expires_at_us, outcome, reason, retry_at_us)
SELECT intent_id, cancels, number, epoch, claimed_at_us, expires_at_us, outcome, reason, retry_at_us FROM attempt
    ORDER BY intent_id, cancels, number;
DROP TABLE attempt;
ALTER TABLE attempt_2 RENAME TO attempt;

-- One row per replace of an order, from when it is wanted.
CREATE TABLE replacement (
    intent_id INTEGER NOT NULL,
    number INTEGER NOT NULL CHECK (number > 0),
    route INTEGER NOT NULL,
    client_order_id TEXT,                                   -- under which the order goes on; NULL: the venue keeps the id
    quantity TEXT NOT NULL,
    price TEXT,
    valid_until_us INTEGER NOT NULL,
    operation_key TEXT,
    copies_before INTEGER NOT NULL CHECK (copies_before >= 0),
    original_over TEXT CHECK (original_over IN ('canceled', 'replaced')),  -- how the venue shows the order under its old id
    outcome TEXT CHECK (outcome IN ('replaced', 'refused')),
    PRIMARY KEY (intent_id, number)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX replacement_open ON replacement (intent_id) WHERE outcome IS NULL;
CREATE UNIQUE INDEX replacement_by_client_order_id ON replacement (route, client_order_id) WHERE client_order_id IS NOT NULL;
CREATE TRIGGER replacement_over_is_over BEFORE UPDATE ON replacement WHEN old.outcome IS NOT NULL BEGIN
    SELECT raise(ABORT, 'a replace that is over does not change');
END;
CREATE TRIGGER replacement_is_kept BEFORE DELETE ON replacement BEGIN
    SELECT raise(ABORT, 'replaces are kept');
END;
-- A client order id belongs to one order of a route, whether it came with the order or by a replace.
CREATE TRIGGER replacement_id_is_no_intents AFTER INSERT ON replacement WHEN EXISTS
    (SELECT 1 FROM intent WHERE route = new.route AND client_order_id = new.client_order_id) BEGIN
    SELECT raise(ABORT, 'the client order id belongs to an intent');
END;
CREATE TRIGGER intent_id_is_no_replacements BEFORE INSERT ON intent WHEN EXISTS
    (SELECT 1 FROM replacement WHERE route = new.route AND client_order_id = new.client_order_id) BEGIN
    SELECT raise(IGNORE);                                   -- as ON CONFLICT DO NOTHING: the row is left out
END;

ALTER TABLE operation ADD COLUMN kind TEXT NOT NULL DEFAULT 'cancel' CHECK (kind IN ('cancel', 'replace'));
ALTER TABLE operation ADD COLUMN quantity TEXT CHECK (quantity IS NULL OR kind = 'replace');  -- what a replace wants
ALTER TABLE operation ADD COLUMN price TEXT CHECK (price IS NULL OR kind = 'replace');

ALTER TABLE route ADD COLUMN lease_until_us INTEGER;        -- NULL: not lent for a time
