-- From version 3 to 4: how far subscribers were told, callbacks taken in once, users' own steps, suspicions of two holders; the
-- projection of positions is stored by route.

ALTER TABLE route ADD COLUMN folded_through INTEGER NOT NULL DEFAULT 0;  -- executions already in the table position
UPDATE route SET folded_through = (SELECT folded_through FROM ledger);
ALTER TABLE ledger DROP COLUMN folded_through;
CREATE INDEX execution_by_route ON execution (route, id);

CREATE TABLE subscription (
    route INTEGER NOT NULL,
    subscriber TEXT NOT NULL,
    position INTEGER NOT NULL CHECK (position >= 0),        -- told through this sequence of the route's journal
    PRIMARY KEY (route, subscriber)
) STRICT, WITHOUT ROWID;

CREATE TABLE subscription_stopped (
    route INTEGER NOT NULL,
    subscriber TEXT NOT NULL,
    intent_id INTEGER NOT NULL,                             -- 0: the events that belong to no order
    position INTEGER NOT NULL CHECK (position >= 0),
    incident INTEGER NOT NULL,
    PRIMARY KEY (route, subscriber, intent_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE inbox (
    route INTEGER NOT NULL,
    source TEXT NOT NULL,
    event_id TEXT NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    recorded_at_us INTEGER NOT NULL,
    PRIMARY KEY (route, source, event_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE step (
    id INTEGER PRIMARY KEY,
    route INTEGER NOT NULL,
    key TEXT NOT NULL,
    step TEXT NOT NULL,
    attempt INTEGER NOT NULL CHECK (attempt > 0),
    begun_at_us INTEGER NOT NULL,
    result TEXT,
    done_at_us INTEGER,
    arguments TEXT NOT NULL,                                -- a digest, or nothing
    UNIQUE (route, key, step),
    CHECK ((result IS NULL) = (done_at_us IS NULL))
) STRICT;
CREATE TRIGGER step_done_is_done BEFORE UPDATE ON step WHEN old.result IS NOT NULL BEGIN
    SELECT raise(ABORT, 'a step that is done does not change');
END;
CREATE TRIGGER step_is_kept BEFORE DELETE ON step BEGIN
    SELECT raise(ABORT, 'steps are kept');
END;

CREATE TABLE hand_over (                                    -- wishes that a route goes from its holder
    route INTEGER PRIMARY KEY,
    node TEXT,                                              -- to whom; NULL: to any other
    asked_by TEXT NOT NULL,
    at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE suspicion (
    route INTEGER NOT NULL,
    number INTEGER NOT NULL CHECK (number > 0),
    epoch INTEGER NOT NULL,
    holder TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (route, number)
) STRICT, WITHOUT ROWID;
