-- From version 2 to 3: intents refused at a gate, executions that are busted or corrected, fees, incidents, control states,
-- opening positions, signed checkpoints. The tables intent and position are made anew; the positions are folded again.

CREATE TABLE intent_3 (
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
        'canceled_unsent', 'refused')),
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
    reversed_quantity TEXT NOT NULL DEFAULT '0',            -- executed once, and taken back by busts and corrections
    replaced INTEGER NOT NULL DEFAULT 0 CHECK (replaced IN (0, 1)),  -- there are rows of it in the table replacement
    CHECK (answer IS NOT NULL OR status IN ('recorded', 'sending', 'uncertain', 'pending_new', 'pending_cancel')),
    CHECK (closed = 0 OR status IN ('filled', 'canceled', 'rejected', 'expired', 'expired_unsent', 'canceled_unsent',
        'refused')),
    CHECK (parked = 0 OR status IN ('recorded', 'uncertain', 'pending_new', 'new', 'partially_filled', 'pending_replace',
        'pending_cancel'))
) STRICT;
INSERT INTO intent_3 (id, route, key_digest, account, strategy, key, client_order_id, fingerprint_version, fingerprint, body,
    recorded_at_us, valid_until_us, status, version, cum_quantity, venue_cum_quantity, venue_order_id, reason, anomaly, parked,
    cancel_wanted, closed, answer, replaced)
SELECT id, route, key_digest, account, strategy, key, client_order_id, fingerprint_version, fingerprint, body,
    recorded_at_us, valid_until_us, status, version, cum_quantity, venue_cum_quantity, venue_order_id, reason, anomaly, parked,
    cancel_wanted, closed, answer, EXISTS (SELECT 1 FROM replacement WHERE replacement.intent_id = intent.id)
    FROM intent ORDER BY id;
DROP TRIGGER replacement_id_is_no_intents;                  -- names the table that goes
DROP TABLE intent;
ALTER TABLE intent_3 RENAME TO intent;
CREATE UNIQUE INDEX intent_by_key ON intent (key_digest);
CREATE UNIQUE INDEX intent_by_client_order_id ON intent (route, client_order_id);
CREATE INDEX intent_open ON intent (route) WHERE closed = 0;
CREATE TRIGGER replacement_id_is_no_intents AFTER INSERT ON replacement WHEN EXISTS
    (SELECT 1 FROM intent WHERE route = new.route AND client_order_id = new.client_order_id) BEGIN
    SELECT raise(ABORT, 'the client order id belongs to an intent');
END;
CREATE TRIGGER intent_id_is_no_replacements BEFORE INSERT ON intent WHEN EXISTS
    (SELECT 1 FROM replacement WHERE route = new.route AND client_order_id = new.client_order_id) BEGIN
    SELECT raise(IGNORE);                                   -- as ON CONFLICT DO NOTHING: the row is left out
END;

-- A bust or correction (FIX ExecType H, G) is a row of its own; refers_to names the execution it speaks of (FIX ExecRefID).
ALTER TABLE execution ADD COLUMN kind TEXT NOT NULL DEFAULT 'trade' CHECK (kind IN ('trade', 'correct', 'bust'));
ALTER TABLE execution ADD COLUMN refers_to TEXT CHECK (refers_to IS NOT NULL OR kind = 'trade');
ALTER TABLE execution ADD COLUMN fee TEXT;                  -- what was paid; below zero: a rebate
ALTER TABLE execution ADD COLUMN fee_currency TEXT CHECK ((fee IS NULL) = (fee_currency IS NULL));
ALTER TABLE execution ADD COLUMN stream TEXT NOT NULL DEFAULT 'executions';
CREATE INDEX execution_amending ON execution (route, scope, refers_to) WHERE refers_to IS NOT NULL;
CREATE INDEX execution_quarantined ON execution (route) WHERE intent_id IS NULL;

ALTER TABLE replacement ADD COLUMN since_us INTEGER NOT NULL DEFAULT 0;  -- from when on it is in force, where that is known
ALTER TABLE replacement ADD COLUMN version INTEGER NOT NULL DEFAULT 0;   -- of the order, from which on it is in force

DROP TABLE position;
CREATE TABLE position (
    account TEXT NOT NULL,
    strategy TEXT NOT NULL,
    venue TEXT NOT NULL,
    instrument TEXT NOT NULL,
    bought TEXT NOT NULL,
    sold TEXT NOT NULL,
    bought_value TEXT NOT NULL,
    sold_value TEXT NOT NULL,
    cost TEXT NOT NULL,                                     -- what the open quantity cost; below zero: was received for it
    fees TEXT NOT NULL,                                     -- JSON: [[currency, amount], ...]
    executions INTEGER NOT NULL,
    PRIMARY KEY (account, strategy, venue, instrument)
) STRICT, WITHOUT ROWID;
UPDATE ledger SET folded_through = 0;

CREATE TABLE incident (
    route INTEGER NOT NULL,
    number INTEGER NOT NULL CHECK (number > 0),
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    open INTEGER NOT NULL CHECK (open IN (0, 1)),
    opened_at_us INTEGER NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    body TEXT NOT NULL,                                     -- JSON: evidence, snapshot, runbook
    PRIMARY KEY (route, number)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX incident_open ON incident (route, kind, subject) WHERE open = 1;
CREATE TRIGGER incident_is_kept BEFORE DELETE ON incident BEGIN
    SELECT raise(ABORT, 'incidents are kept');
END;
CREATE TRIGGER incident_begins_at_one BEFORE INSERT ON incident WHEN new.version > 1 AND NOT EXISTS
    (SELECT 1 FROM incident WHERE route = new.route AND number = new.number) BEGIN
    SELECT raise(ABORT, 'an incident begins at version 1');
END;
CREATE TRIGGER incident_resolved_is_resolved BEFORE UPDATE ON incident WHEN old.open = 0 BEGIN
    SELECT raise(ABORT, 'an incident that is resolved does not change');
END;

CREATE TABLE control (
    route INTEGER PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('normal', 'degraded', 'dup_risk', 'safe')),
    version INTEGER NOT NULL CHECK (version > 0),
    body TEXT NOT NULL                                      -- JSON: since when, why, by whom
) STRICT;

-- What an account held before the first order was sent from here. Of several words on it the one with the highest number counts.
CREATE TABLE opening_position (
    route INTEGER NOT NULL,
    account TEXT NOT NULL,
    instrument TEXT NOT NULL,
    number INTEGER NOT NULL CHECK (number > 0),
    quantity TEXT NOT NULL,
    recorded_at_us INTEGER NOT NULL,
    PRIMARY KEY (route, account, instrument, number)
) STRICT, WITHOUT ROWID;

-- Signed roots of the journal's Merkle tree, per route.
CREATE TABLE checkpoint (
    route INTEGER NOT NULL,
    size INTEGER NOT NULL CHECK (size > 0),
    root BLOB NOT NULL CHECK (length(root) = 32),
    head BLOB NOT NULL CHECK (length(head) = 32),
    frontier BLOB NOT NULL,
    at_us INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    signature BLOB NOT NULL CHECK (length(signature) = 64),
    PRIMARY KEY (route, size)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER checkpoint_is_append_only_update BEFORE UPDATE ON checkpoint BEGIN
    SELECT raise(ABORT, 'checkpoints are append-only');
END;
CREATE TRIGGER checkpoint_is_append_only_delete BEFORE DELETE ON checkpoint BEGIN
    SELECT raise(ABORT, 'checkpoints are append-only');
END;
