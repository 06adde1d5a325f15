-- The ledger on PostgreSQL, version 1: the tables, CHECKs and unique constraints of the SQLite ledger's version 4.
-- CHECK and UNIQUE repeat the core's invariants, so that no program error can write past them. Numbers with a fraction are
-- text, digit for digit. Texts that are looked up are compared by their bytes: an index must not depend on the operating
-- system's idea of an alphabet. Names are found by the search path; `onefill migrate` sets it.

CREATE TABLE ledger (
    one smallint PRIMARY KEY CHECK (one = 1),
    seed bytea NOT NULL CHECK (length(seed) = 16),          -- goes into client order ids: no two ledgers make the same
    created_at_us bigint NOT NULL
);

-- The row of a route is its lock: whoever writes anything of a route updates this row first, under its epoch.
CREATE TABLE route (
    id bigint PRIMARY KEY CHECK (id > 0 AND id < 4194304),  -- 22 bits above the 40 of an intent's number
    name text COLLATE "C" NOT NULL UNIQUE,
    epoch bigint NOT NULL CHECK (epoch > 0),
    holder text NOT NULL,
    venue text NOT NULL DEFAULT '',                         -- which venue it is, by the venue's own word
    acquired_at_us bigint NOT NULL,
    lease_until_us bigint,                                  -- by this database's clock; NULL: not lent for a time
    last_number bigint NOT NULL DEFAULT 0 CHECK (last_number >= 0),
    last_sequence bigint NOT NULL DEFAULT 0 CHECK (last_sequence >= 0),
    last_execution bigint NOT NULL DEFAULT 0 CHECK (last_execution >= 0),
    folded_through bigint NOT NULL DEFAULT 0,               -- executions already in the table position
    head bytea NOT NULL CHECK (length(head) = 32)           -- hash of the journal's last entry
) WITH (fillfactor = 20);                                   -- updated with every commit: room for its next version beside it

-- One row per intent, which is also its order.
CREATE TABLE intent (
    id bigint PRIMARY KEY,
    route bigint NOT NULL,
    key_digest bytea NOT NULL CHECK (length(key_digest) = 16),
    account text COLLATE "C" NOT NULL,
    strategy text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    client_order_id text COLLATE "C" NOT NULL,
    fingerprint_version integer NOT NULL,
    fingerprint bytea NOT NULL CHECK (length(fingerprint) = 32),
    body text NOT NULL,
    recorded_at_us bigint NOT NULL,
    valid_until_us bigint NOT NULL,
    status text NOT NULL CHECK (status IN ('recorded', 'sending', 'uncertain', 'pending_new', 'new', 'partially_filled',
        'pending_replace', 'pending_cancel', 'filled', 'canceled', 'rejected', 'expired', 'expired_unsent',
        'canceled_unsent', 'refused')),
    version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
    cum_quantity text NOT NULL DEFAULT '0',
    venue_cum_quantity text NOT NULL DEFAULT '0',
    venue_order_id text,
    reason text,
    anomaly text,
    parked smallint NOT NULL DEFAULT 0 CHECK (parked IN (0, 1)),
    cancel_wanted smallint NOT NULL DEFAULT 0 CHECK (cancel_wanted IN (0, 1)),
    closed smallint NOT NULL DEFAULT 0 CHECK (closed IN (0, 1)),
    answer text,
    reversed_quantity text NOT NULL DEFAULT '0',            -- executed once, and taken back by busts and corrections
    replaced smallint NOT NULL DEFAULT 0 CHECK (replaced IN (0, 1)),  -- there are rows of it in the table replacement
    first_day integer NOT NULL,                             -- the days of its first and last journal entry
    last_day integer NOT NULL CHECK (last_day >= first_day),
    CHECK (answer IS NOT NULL OR status IN ('recorded', 'sending', 'uncertain', 'pending_new', 'pending_cancel')),
    CHECK (closed = 0 OR status IN ('filled', 'canceled', 'rejected', 'expired', 'expired_unsent', 'canceled_unsent',
        'refused')),
    CHECK (parked = 0 OR status IN ('recorded', 'uncertain', 'pending_new', 'new', 'partially_filled', 'pending_replace',
        'pending_cancel'))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX intent_by_key ON intent (key_digest);
CREATE UNIQUE INDEX intent_by_client_order_id ON intent (route, client_order_id);
CREATE INDEX intent_open ON intent (route) WHERE closed = 0;

-- One row per copy of a request that was claimed for sending: of an order, its cancel or a replace of it.
CREATE TABLE attempt (
    intent_id bigint NOT NULL,
    kind smallint NOT NULL CHECK (kind IN (0, 1, 2)),       -- 0 submit, 1 cancel, 2 replace
    number bigint NOT NULL CHECK (number > 0),
    epoch bigint NOT NULL,
    claimed_at_us bigint NOT NULL,
    expires_at_us bigint,
    leaves_by_us bigint,                                    -- the last moment at which its bytes can leave here
    outcome text CHECK (outcome IN ('accepted', 'rejected', 'duplicate', 'too_late', 'throttled', 'not_sent', 'unknown',
        'absent')),
    reason text,
    retry_at_us bigint,                                     -- not before, by the venue's word
    PRIMARY KEY (intent_id, kind, number)
) WITH (fillfactor = 70);

-- One row per replace of an order, from when it is wanted.
CREATE TABLE replacement (
    intent_id bigint NOT NULL,
    number bigint NOT NULL CHECK (number > 0),
    route bigint NOT NULL,
    client_order_id text COLLATE "C",                       -- under which the order goes on; NULL: the venue keeps the id
    quantity text NOT NULL,
    price text,
    valid_until_us bigint NOT NULL,
    operation_key text,
    copies_before bigint NOT NULL CHECK (copies_before >= 0),
    original_over text CHECK (original_over IN ('canceled', 'replaced')),  -- how the venue shows the order under its old id
    outcome text CHECK (outcome IN ('replaced', 'refused')),
    since_us bigint NOT NULL DEFAULT 0,                     -- from when on it is in force, where that is known
    version bigint NOT NULL DEFAULT 0,                      -- of the order, from which on it is in force
    PRIMARY KEY (intent_id, number)
);
CREATE UNIQUE INDEX replacement_open ON replacement (intent_id) WHERE outcome IS NULL;
CREATE UNIQUE INDEX replacement_by_client_order_id ON replacement (route, client_order_id) WHERE client_order_id IS NOT NULL;

CREATE TABLE operation (
    key_digest bytea NOT NULL CHECK (length(key_digest) = 16),
    operation_key text COLLATE "C" NOT NULL,
    account text COLLATE "C" NOT NULL,
    strategy text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    intent_id bigint,
    requested_at_us bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('cancel', 'replace')),
    quantity text CHECK (quantity IS NULL OR kind = 'replace'),  -- what a replace wants
    price text CHECK (price IS NULL OR kind = 'replace'),
    answer text,
    PRIMARY KEY (key_digest, operation_key),
    CHECK (answer IS NOT NULL OR intent_id IS NOT NULL)
);
CREATE INDEX operation_waiting ON operation (intent_id) WHERE answer IS NULL;

-- The execution log: what positions are computed from. intent_id is NULL for an order that nobody here sent. The id counts
-- within the route, under the route's lock: a PostgreSQL sequence would not be in the order of the commits.
CREATE TABLE execution (
    route bigint NOT NULL,
    id bigint NOT NULL CHECK (id > 0),
    scope text COLLATE "C" NOT NULL,
    execution_id text COLLATE "C" NOT NULL,
    intent_id bigint,
    account text COLLATE "C" NOT NULL,
    strategy text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    side text NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity text NOT NULL,
    price text NOT NULL,
    client_order_id text NOT NULL,
    venue_order_id text NOT NULL,
    transacted_at_us bigint NOT NULL,
    recorded_at_us bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('trade', 'correct', 'bust')),
    refers_to text COLLATE "C" CHECK (refers_to IS NOT NULL OR kind = 'trade'),
    fee text,                                               -- what was paid; below zero: a rebate
    fee_currency text CHECK ((fee IS NULL) = (fee_currency IS NULL)),
    stream text NOT NULL,
    PRIMARY KEY (route, id),
    UNIQUE (route, scope, execution_id)
);
CREATE INDEX execution_by_intent ON execution (intent_id);
CREATE INDEX execution_amending ON execution (route, scope, refers_to) WHERE refers_to IS NOT NULL;
CREATE INDEX execution_quarantined ON execution (route) WHERE intent_id IS NULL;

-- A projection of the log above; may be dropped and rebuilt at any time.
CREATE TABLE position (
    account text COLLATE "C" NOT NULL,
    strategy text COLLATE "C" NOT NULL,
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    bought text NOT NULL,
    sold text NOT NULL,
    bought_value text NOT NULL,
    sold_value text NOT NULL,
    cost text NOT NULL,                                     -- what the open quantity cost; below zero: was received for it
    fees text NOT NULL,                                     -- JSON: [[currency, amount], ...]
    executions bigint NOT NULL,
    PRIMARY KEY (venue, account, strategy, instrument)
);

CREATE TABLE cursor (
    route bigint NOT NULL,
    stream text COLLATE "C" NOT NULL,
    position bigint NOT NULL CHECK (position >= 0),
    PRIMARY KEY (route, stream)
) WITH (fillfactor = 50);

-- Append-only, hash-chained per route. Also the source for subscribers: an entry is its own outbox row.
-- id is the route's number above 40 bits, the entry's sequence on the route below them.
-- One partition for each day, so that old days can be archived and dropped. An entry's day is that of its time, but never falls
-- within a route: each route's entries stand in the order of the days. No constraint reaches over partitions. That no sequence
-- comes twice on a route is certain all the same: whoever writes an entry holds the route's row, has compared its
-- last_sequence, and counts on from there, in the same transaction.
CREATE TABLE journal (
    id bigint NOT NULL,
    intent_id bigint,
    day integer NOT NULL,                                   -- days since 1970
    kind text NOT NULL,
    payload text NOT NULL,
    at_us bigint NOT NULL,
    epoch bigint NOT NULL,
    previous_hash bytea NOT NULL CHECK (length(previous_hash) = 32),
    hash bytea NOT NULL CHECK (length(hash) = 32)
) PARTITION BY RANGE (day);

-- On which days a route has entries, and where each begins: by it a reading goes to the partitions that it needs, and no other.
CREATE TABLE journal_day (
    route bigint NOT NULL,
    day integer NOT NULL,
    first_sequence bigint NOT NULL CHECK (first_sequence > 0),
    PRIMARY KEY (route, day)
);

-- What was archived: a route's entries of a day, written into a file and dropped here, in the transaction that made this row.
CREATE TABLE archive (
    route bigint NOT NULL,
    day integer NOT NULL,
    first_sequence bigint NOT NULL CHECK (first_sequence > 0),
    last_sequence bigint NOT NULL CHECK (last_sequence >= first_sequence),
    head bytea NOT NULL CHECK (length(head) = 32),          -- hash of the last of them: what the entries here go on from
    epoch bigint NOT NULL,                                  -- of the last of them
    last_execution bigint NOT NULL CHECK (last_execution >= 0),  -- of the execution log: all through it are told of in the archive
    frontier bytea NOT NULL,                                -- the Merkle tree over the route's entries through the last of them
    file text NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),      -- of the file
    archived_at_us bigint NOT NULL,
    PRIMARY KEY (route, day),
    UNIQUE (route, last_sequence)
);
CREATE INDEX archive_by_day ON archive (day);

CREATE TABLE incident (
    route bigint NOT NULL,
    number bigint NOT NULL CHECK (number > 0),
    kind text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    open smallint NOT NULL CHECK (open IN (0, 1)),
    opened_at_us bigint NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    body text NOT NULL,                                     -- JSON: evidence, snapshot, runbook
    PRIMARY KEY (route, number)
);
CREATE UNIQUE INDEX incident_open ON incident (route, kind, subject) WHERE open = 1;

CREATE TABLE control (
    route bigint PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('normal', 'degraded', 'dup_risk', 'safe')),
    version bigint NOT NULL CHECK (version > 0),
    body text NOT NULL                                      -- JSON: since when, why, by whom
);

-- What an account held before the first order was sent from here. Of several words on it the one with the highest number counts.
CREATE TABLE opening_position (
    route bigint NOT NULL,
    account text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    number bigint NOT NULL CHECK (number > 0),
    quantity text NOT NULL,
    recorded_at_us bigint NOT NULL,
    PRIMARY KEY (route, account, instrument, number)
);

-- Signed roots of the journal's Merkle tree, per route.
CREATE TABLE checkpoint (
    route bigint NOT NULL,
    size bigint NOT NULL CHECK (size > 0),
    root bytea NOT NULL CHECK (length(root) = 32),
    head bytea NOT NULL CHECK (length(head) = 32),
    frontier bytea NOT NULL,
    at_us bigint NOT NULL,
    key_id text NOT NULL,
    signature bytea NOT NULL CHECK (length(signature) = 64),
    PRIMARY KEY (route, size)
);

CREATE TABLE subscription (
    route bigint NOT NULL,
    subscriber text COLLATE "C" NOT NULL,
    position bigint NOT NULL CHECK (position >= 0),         -- told through this sequence of the route's journal
    PRIMARY KEY (route, subscriber)
) WITH (fillfactor = 50);

CREATE TABLE subscription_stopped (
    route bigint NOT NULL,
    subscriber text COLLATE "C" NOT NULL,
    intent_id bigint NOT NULL,                              -- 0: the events that belong to no order
    position bigint NOT NULL CHECK (position >= 0),
    incident bigint NOT NULL,
    PRIMARY KEY (route, subscriber, intent_id)
);

CREATE TABLE inbox (
    route bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    recorded_at_us bigint NOT NULL,
    PRIMARY KEY (route, source, event_id)
);

CREATE TABLE step (
    route bigint NOT NULL,
    id bigint NOT NULL CHECK (id > 0),
    key text COLLATE "C" NOT NULL,
    step text COLLATE "C" NOT NULL,
    attempt bigint NOT NULL CHECK (attempt > 0),
    begun_at_us bigint NOT NULL,
    result text,
    done_at_us bigint,
    arguments text NOT NULL,                                -- a digest, or nothing
    PRIMARY KEY (route, id),
    UNIQUE (route, key, step),
    CHECK ((result IS NULL) = (done_at_us IS NULL))
);

CREATE TABLE hand_over (                                    -- wishes that a route goes from its holder
    route bigint PRIMARY KEY,
    node text,                                              -- to whom; NULL: to any other
    asked_by text NOT NULL,
    at_us bigint NOT NULL
);

CREATE TABLE suspicion (
    route bigint NOT NULL,
    number bigint NOT NULL CHECK (number > 0),
    epoch bigint NOT NULL,
    holder text NOT NULL,
    at_us bigint NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (route, number)
);

-- What does not change. The message says which rule; the state 23000 marks a broken rule like a constraint's.

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = '23000', MESSAGE = TG_ARGV[0];
END $$;

CREATE TRIGGER journal_is_append_only BEFORE UPDATE OR DELETE ON journal
    FOR EACH ROW EXECUTE FUNCTION refuse('the journal is append-only');
CREATE TRIGGER journal_is_not_emptied BEFORE TRUNCATE ON journal EXECUTE FUNCTION refuse('the journal is append-only');
CREATE TRIGGER archive_is_append_only BEFORE UPDATE OR DELETE ON archive
    FOR EACH ROW EXECUTE FUNCTION refuse('what was archived stays archived');
CREATE TRIGGER archive_is_not_emptied BEFORE TRUNCATE ON archive
    EXECUTE FUNCTION refuse('what was archived stays archived');
CREATE TRIGGER execution_is_append_only BEFORE UPDATE OR DELETE ON execution
    FOR EACH ROW EXECUTE FUNCTION refuse('executions are append-only');
CREATE TRIGGER execution_is_not_emptied BEFORE TRUNCATE ON execution EXECUTE FUNCTION refuse('executions are append-only');
CREATE TRIGGER checkpoint_is_append_only BEFORE UPDATE OR DELETE ON checkpoint
    FOR EACH ROW EXECUTE FUNCTION refuse('checkpoints are append-only');
CREATE TRIGGER checkpoint_is_not_emptied BEFORE TRUNCATE ON checkpoint
    EXECUTE FUNCTION refuse('checkpoints are append-only');
CREATE TRIGGER replacement_over_is_over BEFORE UPDATE ON replacement
    FOR EACH ROW WHEN (old.outcome IS NOT NULL) EXECUTE FUNCTION refuse('a replace that is over does not change');
CREATE TRIGGER replacement_is_kept BEFORE DELETE ON replacement
    FOR EACH ROW EXECUTE FUNCTION refuse('replaces are kept');
CREATE TRIGGER incident_is_kept BEFORE DELETE ON incident FOR EACH ROW EXECUTE FUNCTION refuse('incidents are kept');
CREATE TRIGGER incident_resolved_is_resolved BEFORE UPDATE ON incident
    FOR EACH ROW WHEN (old.open = 0) EXECUTE FUNCTION refuse('an incident that is resolved does not change');
CREATE TRIGGER step_done_is_done BEFORE UPDATE ON step
    FOR EACH ROW WHEN (old.result IS NOT NULL) EXECUTE FUNCTION refuse('a step that is done does not change');
CREATE TRIGGER step_is_kept BEFORE DELETE ON step FOR EACH ROW EXECUTE FUNCTION refuse('steps are kept');

CREATE FUNCTION begins_at_one() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM incident WHERE route = new.route AND number = new.number) THEN
        RAISE EXCEPTION USING ERRCODE = '23000', MESSAGE = 'an incident begins at version 1';
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER incident_begins_at_one BEFORE INSERT ON incident
    FOR EACH ROW WHEN (new.version > 1) EXECUTE FUNCTION begins_at_one();

-- A client order id belongs to one order of a route, whether it came with the order or by a replace. Two tables cannot share an
-- index; whoever writes either of them holds the route's row, so that looking is enough.
CREATE FUNCTION id_is_no_intents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM intent WHERE route = new.route AND client_order_id = new.client_order_id) THEN
        RAISE EXCEPTION USING ERRCODE = '23000', MESSAGE = 'the client order id belongs to an intent';
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER replacement_id_is_no_intents BEFORE INSERT ON replacement
    FOR EACH ROW WHEN (new.client_order_id IS NOT NULL) EXECUTE FUNCTION id_is_no_intents();

CREATE FUNCTION id_is_no_replacements() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM fresh JOIN replacement USING (route, client_order_id)) THEN
        RAISE EXCEPTION USING ERRCODE = '23505', MESSAGE = 'the client order id belongs to a replace';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER intent_id_is_no_replacements AFTER INSERT ON intent REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION id_is_no_replacements();

-- The journal's partitions. Each has the id as its key, an index by order, and may not be emptied; that its rows are neither
-- changed nor deleted comes from the journal itself. Days are made ahead (`onefill migrate`, a gateway, `onefill archive`).
-- An entry for whose day nothing was made goes into journal_rest: a commit never fails for want of a partition.

CREATE FUNCTION journal_table(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE journal INCLUDING CONSTRAINTS)', name);
    EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (id)', name);
    EXECUTE format('CREATE INDEX ON %I (intent_id) WHERE intent_id IS NOT NULL', name);
    EXECUTE format('CREATE TRIGGER is_not_emptied BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse(%L)', name,
        'the journal is append-only');
END $$;

-- Makes a day's partition; false if there is one, or if the day was archived.
CREATE FUNCTION journal_add_day(which integer) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    name text := 'journal_' || to_char(date '1970-01-01' + which, 'YYYY_MM_DD');
BEGIN
    IF to_regclass(name) IS NOT NULL OR which <= (SELECT max(day) FROM archive) THEN RETURN false; END IF;
    PERFORM journal_table(name);
    EXECUTE format('ALTER TABLE journal ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', name, which, which + 1);
    RETURN true;
END $$;

-- A day that was archived takes no entries any more. Its partition is gone, so they would come here: whoever writes one does not
-- know yet what was archived, and is to look where the route stands.
CREATE FUNCTION day_is_not_archived() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.day <= (SELECT max(day) FROM archive) THEN
        RAISE EXCEPTION USING ERRCODE = 'OF001', MESSAGE = 'the day was archived';
    END IF;
    RETURN new;
END $$;

CREATE FUNCTION journal_add_rest() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journal_table('journal_rest');
    CREATE TRIGGER day_is_not_archived BEFORE INSERT ON journal_rest
        FOR EACH ROW EXECUTE FUNCTION day_is_not_archived();
    ALTER TABLE journal ATTACH PARTITION journal_rest DEFAULT;
END $$;
SELECT journal_add_rest();

-- Makes the partitions of today, by this server's clock, and of so many days to come. A day whose entries are in journal_rest
-- stays there: journal_sort_rest moves them. A gateway's role may call it although it may make no tables.
CREATE FUNCTION journal_add_ahead(days integer) RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    today integer := floor(extract(epoch FROM clock_timestamp()) / 86400);
    made bigint := 0;
BEGIN
    FOR which IN today .. today + least(days, 400) LOOP
        CONTINUE WHEN EXISTS (SELECT FROM journal_rest WHERE day = which);
        IF journal_add_day(which) THEN made := made + 1; END IF;
    END LOOP;
    RETURN made;
END $$;
REVOKE EXECUTE ON FUNCTION journal_add_ahead FROM PUBLIC;

-- Gives days whose entries had to go into journal_rest partitions of their own. Nobody writes meanwhile.
CREATE FUNCTION journal_sort_rest() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    moved bigint;
BEGIN
    LOCK TABLE ONLY journal IN ACCESS EXCLUSIVE MODE;
    ALTER TABLE journal DETACH PARTITION journal_rest;
    ALTER TABLE journal_rest RENAME TO journal_sorted;
    PERFORM journal_add_rest();
    PERFORM journal_add_day(d.day) FROM (SELECT DISTINCT day FROM journal_sorted) AS d;
    INSERT INTO journal SELECT * FROM journal_sorted;
    GET DIAGNOSTICS moved = ROW_COUNT;
    DROP TABLE journal_sorted;
    RETURN moved;
END $$;

-- Drops a day's partition. Only for a day of which every entry is in the archive: whoever calls this has noted so, in the same
-- transaction.
CREATE FUNCTION journal_drop_day(which integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM journal_day WHERE day = which) OR NOT EXISTS (SELECT FROM archive WHERE day = which) THEN
        RAISE EXCEPTION USING ERRCODE = '23000', MESSAGE = 'the day was not archived';
    END IF;
    EXECUTE format('DROP TABLE %I', 'journal_' || to_char(date '1970-01-01' + which, 'YYYY_MM_DD'));
END $$;

-- A page of a route's journal, in its order. Goes day by day and names each: no other partition is opened, however many there are.
-- By the index alone: of a day that has just begun the server has no statistics, and would read all of it for each page.
-- only_intent: entries of one order alone, or (0) of none.
CREATE FUNCTION journal_page(of_route bigint, after bigint, most bigint, only_intent bigint DEFAULT NULL)
RETURNS SETOF journal LANGUAGE plpgsql STABLE ROWS 500 SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    base bigint := of_route << 40;
    statement text := 'SELECT * FROM journal WHERE day = $1 AND id > $2 AND id <= $3 ';
    sorting text := 'ORDER BY id LIMIT $4';
    which integer;
    lowest integer;
    highest integer := 2147483647;
    found bigint;
BEGIN
    SELECT max(day) INTO lowest FROM journal_day WHERE route = of_route AND first_sequence <= after + 1;
    lowest := coalesce(lowest, -2147483648);
    IF only_intent = 0 THEN
        statement := statement || 'AND intent_id IS NULL ';
    ELSIF only_intent IS NOT NULL THEN
        statement := statement || 'AND intent_id = $5 ';
        sorting := 'ORDER BY id + 0 LIMIT $4';  -- not by walking through all ids until some are of the order
        SELECT greatest(lowest, first_day), last_day INTO lowest, highest FROM intent WHERE id = only_intent;
    END IF;
    FOR which IN SELECT day FROM journal_day WHERE route = of_route AND day BETWEEN lowest AND highest ORDER BY day LOOP
        RETURN QUERY EXECUTE statement || sorting
            USING which, base + after, base + 1099511627775, most, only_intent;
        GET DIAGNOSTICS found = ROW_COUNT;
        most := most - found;
        EXIT WHEN most <= 0;
    END LOOP;
END $$;

-- The entries that recorded these orders, of those that are still here.
CREATE FUNCTION journal_recorded(ids bigint[]) RETURNS SETOF journal LANGUAGE plpgsql STABLE ROWS 500
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    which integer;
BEGIN
    FOR which IN SELECT DISTINCT first_day FROM intent WHERE id = ANY (ids) LOOP
        RETURN QUERY EXECUTE 'SELECT DISTINCT ON (intent_id) * FROM journal WHERE day = $1 AND intent_id = ANY ($2) '
            'ORDER BY intent_id, id' USING which, ids;
    END LOOP;
END $$;

-- The clock by which leases are judged: this server's, in µs since 1970.
CREATE FUNCTION now_us() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;

-- A group of changes, committed whole in one call. Columns come as arrays, one per column; what hardly any change has comes as
-- JSON. Returns NULL, or why nothing was written: as a value and not as an error, so that a key that comes again costs no line
-- in the server's log. Conditions of its own: OF001 a route is not as the caller thinks, OF002 an intent met a taken key or
-- client order id, OF003 a statement touched fewer rows than it was given.

CREATE FUNCTION commit_rare(rare jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v jsonb;
    w jsonb;
BEGIN
    -- In the order in which they were made: one may be opened and changed within a group.
    FOR v IN SELECT * FROM jsonb_array_elements(rare -> 'replacements') LOOP
        INSERT INTO replacement (intent_id, number, route, client_order_id, quantity, price, valid_until_us, operation_key,
            copies_before, original_over, outcome, since_us, version)
        VALUES ((v ->> 0)::bigint, (v ->> 1)::bigint, (v ->> 2)::bigint, v ->> 3, v ->> 4, v ->> 5, (v ->> 6)::bigint, v ->> 7,
            (v ->> 8)::bigint, v ->> 9, v ->> 10, (v ->> 11)::bigint, (v ->> 12)::bigint)
        ON CONFLICT (intent_id, number) DO UPDATE SET quantity = excluded.quantity, original_over = excluded.original_over,
            outcome = excluded.outcome, since_us = excluded.since_us, version = excluded.version;
    END LOOP;
    FOR v IN SELECT * FROM jsonb_array_elements(rare -> 'opened') AS e (v) ORDER BY e.v ->> 0, (e.v ->> 1) COLLATE "C" LOOP
        INSERT INTO operation (key_digest, operation_key, account, strategy, key, intent_id, requested_at_us, kind, quantity,
            price, answer)
        VALUES (decode(v ->> 0, 'hex'), v ->> 1, v ->> 2, v ->> 3, v ->> 4, (v ->> 5)::bigint, (v ->> 6)::bigint, v ->> 7,
            v ->> 8, v ->> 9, v ->> 10);
    END LOOP;
    FOR v IN SELECT * FROM jsonb_array_elements(rare -> 'answered') AS e (v) ORDER BY e.v ->> 0, (e.v ->> 1) COLLATE "C" LOOP
        UPDATE operation SET answer = v ->> 10
        WHERE key_digest = decode(v ->> 0, 'hex') AND operation_key = v ->> 1 AND answer IS NULL;
        IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = 'OF003'; END IF;
    END LOOP;
    FOR v IN SELECT * FROM jsonb_array_elements(rare -> 'incidents') LOOP
        INSERT INTO incident (route, number, kind, subject, open, opened_at_us, version, body)
        VALUES ((v ->> 0)::bigint, (v ->> 1)::bigint, v ->> 2, v ->> 3, (v ->> 4)::smallint, (v ->> 5)::bigint,
            (v ->> 6)::bigint, v ->> 7)
        ON CONFLICT (route, number) DO UPDATE SET open = excluded.open, version = excluded.version, body = excluded.body
            WHERE incident.version = excluded.version - 1;
        IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = 'OF003'; END IF;
    END LOOP;
    FOR v IN SELECT * FROM jsonb_array_elements(rare -> 'controls') LOOP
        INSERT INTO control (route, state, version, body)
        VALUES ((v ->> 0)::bigint, v ->> 1, (v ->> 2)::bigint, v ->> 3)
        ON CONFLICT (route) DO UPDATE SET state = excluded.state, version = excluded.version, body = excluded.body
            WHERE control.version = excluded.version - 1;
        IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = 'OF003'; END IF;
    END LOOP;
    FOR v IN SELECT * FROM jsonb_array_elements(rare -> 'opening') LOOP
        INSERT INTO opening_position (route, account, instrument, number, quantity, recorded_at_us)
        VALUES ((v ->> 0)::bigint, v ->> 1, v ->> 2, (v ->> 3)::bigint, v ->> 4, (v ->> 5)::bigint);
    END LOOP;
    FOR v IN SELECT * FROM jsonb_array_elements(rare -> 'subscriptions') LOOP
        -- [route, subscriber, previous, position, [[intent_id, position, incident], ...], [intent_id, ...]]
        IF (v ->> 2)::bigint = 0 THEN
            INSERT INTO subscription (route, subscriber, position) VALUES ((v ->> 0)::bigint, v ->> 1, 0)
            ON CONFLICT DO NOTHING;
        END IF;
        UPDATE subscription SET position = (v ->> 3)::bigint
        WHERE route = (v ->> 0)::bigint AND subscriber = v ->> 1 AND position = (v ->> 2)::bigint;
        IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = 'OF003'; END IF;
        FOR w IN SELECT * FROM jsonb_array_elements(v -> 4) LOOP
            INSERT INTO subscription_stopped (route, subscriber, intent_id, position, incident)
            VALUES ((v ->> 0)::bigint, v ->> 1, (w ->> 0)::bigint, (w ->> 1)::bigint, (w ->> 2)::bigint)
            ON CONFLICT (route, subscriber, intent_id) DO UPDATE SET position = excluded.position,
                incident = excluded.incident WHERE excluded.position >= subscription_stopped.position;
            IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = 'OF003'; END IF;
        END LOOP;
        DELETE FROM subscription_stopped WHERE route = (v ->> 0)::bigint AND subscriber = v ->> 1
            AND intent_id IN (SELECT e::bigint FROM jsonb_array_elements_text(v -> 5) AS e);
    END LOOP;
    FOR v IN SELECT * FROM jsonb_array_elements(rare -> 'days') LOOP
        INSERT INTO journal_day (route, day, first_sequence)
        VALUES ((v ->> 0)::bigint, (v ->> 1)::integer, (v ->> 2)::bigint);
    END LOOP;
    FOR v IN SELECT * FROM jsonb_array_elements(rare -> 'inbox') LOOP
        INSERT INTO inbox (route, source, event_id, digest, recorded_at_us)
        VALUES ((v ->> 0)::bigint, v ->> 1, v ->> 2, decode(v ->> 3, 'hex'), (v ->> 4)::bigint);
    END LOOP;
    FOR v IN SELECT * FROM jsonb_array_elements(rare -> 'steps') LOOP
        INSERT INTO step (id, route, key, step, attempt, begun_at_us, result, done_at_us, arguments)
        SELECT coalesce(max(id), 0) + 1, (v ->> 0)::bigint, v ->> 1, v ->> 2, (v ->> 3)::bigint, (v ->> 4)::bigint, v ->> 5,
            (v ->> 6)::bigint, v ->> 7 FROM step WHERE route = (v ->> 0)::bigint
        ON CONFLICT (route, key, step) DO UPDATE SET attempt = excluded.attempt, begun_at_us = excluded.begun_at_us,
            result = excluded.result, done_at_us = excluded.done_at_us, arguments = excluded.arguments
            WHERE step.result IS NULL AND step.attempt = excluded.attempt - (excluded.result IS NULL)::int;
        IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = 'OF003'; END IF;
    END LOOP;
END $$;

CREATE FUNCTION commit_group(
    needs_standby boolean,
    r_id bigint[], r_epoch bigint[], r_previous bigint[], r_sequence bigint[], r_head bytea[], r_number bigint[],
    r_execution bigint[],
    i_id bigint[], i_route bigint[], i_digest bytea[], i_account text[], i_strategy text[], i_key text[],
    i_client_order_id text[], i_fingerprint_version integer[], i_fingerprint bytea[], i_body text[], i_recorded_at_us bigint[],
    i_valid_until_us bigint[], i_status text[], i_reason text[], i_closed smallint[], i_answer text[], i_day integer[],
    c_intent_id bigint[], c_kind smallint[], c_number bigint[], c_epoch bigint[], c_claimed_at_us bigint[],
    c_expires_at_us bigint[], c_leaves_by_us bigint[], c_outcome text[], c_reason text[], c_retry_at_us bigint[],
    s_intent_id bigint[], s_kind smallint[], s_number bigint[], s_outcome text[], s_reason text[], s_retry_at_us bigint[],
    u_id bigint[], u_expected bigint[], u_status text[], u_version bigint[], u_cum_quantity text[],
    u_venue_cum_quantity text[], u_venue_order_id text[], u_reason text[], u_anomaly text[], u_parked smallint[],
    u_cancel_wanted smallint[], u_closed smallint[], u_answer text[], u_replaced smallint[], u_reversed_quantity text[],
    u_day integer[],
    p_route bigint[], p_stream text[], p_previous bigint[], p_position bigint[],
    e_id bigint[], e_route bigint[], e_scope text[], e_execution_id text[], e_intent_id bigint[], e_account text[],
    e_strategy text[], e_instrument text[], e_side text[], e_quantity text[], e_price text[], e_client_order_id text[],
    e_venue_order_id text[], e_transacted_at_us bigint[], e_recorded_at_us bigint[], e_kind text[], e_refers_to text[],
    e_fee text[], e_fee_currency text[], e_stream text[],
    j_id bigint[], j_intent_id bigint[], j_kind text[], j_payload text[], j_at_us bigint[], j_epoch bigint[],
    j_previous_hash bytea[], j_hash bytea[], j_day integer[],
    rare text
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    touched bigint;
    code text;
    said text;
BEGIN
    IF needs_standby AND (current_setting('synchronous_standby_names') = ''
        OR current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')) THEN
        RAISE EXCEPTION USING ERRCODE = 'OF004', MESSAGE = 'the server no longer waits for a standby';
    END IF;
    BEGIN
        FOR n IN 1 .. cardinality(r_id) LOOP
            UPDATE route SET last_sequence = r_sequence[n], head = r_head[n], last_execution = r_execution[n],
                last_number = greatest(last_number, r_number[n])
            WHERE id = r_id[n] AND epoch = r_epoch[n] AND last_sequence = r_previous[n];
            IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = 'OF001'; END IF;
        END LOOP;
        IF i_id IS NOT NULL THEN
            -- By key: two gateways that record the same keys at the same time must meet them in one order.
            INSERT INTO intent (first_day, last_day, id, route, key_digest, account, strategy, key, client_order_id,
                fingerprint_version, fingerprint, body, recorded_at_us, valid_until_us, status, reason, closed, answer)
            SELECT v.day, v.* FROM unnest(i_day, i_id, i_route, i_digest, i_account, i_strategy, i_key, i_client_order_id,
                i_fingerprint_version, i_fingerprint, i_body, i_recorded_at_us, i_valid_until_us, i_status, i_reason,
                i_closed, i_answer) AS v (day) ORDER BY 5
            ON CONFLICT DO NOTHING;
            GET DIAGNOSTICS touched = ROW_COUNT;
            IF touched <> cardinality(i_id) THEN RAISE EXCEPTION USING ERRCODE = 'OF002'; END IF;
        END IF;
        IF c_intent_id IS NOT NULL THEN
            INSERT INTO attempt (intent_id, kind, number, epoch, claimed_at_us, expires_at_us, leaves_by_us, outcome, reason,
                retry_at_us)
            SELECT * FROM unnest(c_intent_id, c_kind, c_number, c_epoch, c_claimed_at_us, c_expires_at_us, c_leaves_by_us,
                c_outcome, c_reason, c_retry_at_us);
        END IF;
        IF s_intent_id IS NOT NULL THEN
            UPDATE attempt SET outcome = v.outcome, reason = v.reason, retry_at_us = v.retry_at_us
            FROM unnest(s_intent_id, s_kind, s_number, s_outcome, s_reason, s_retry_at_us)
                AS v (intent_id, kind, number, outcome, reason, retry_at_us)
            WHERE attempt.intent_id = v.intent_id AND attempt.kind = v.kind AND attempt.number = v.number;
            GET DIAGNOSTICS touched = ROW_COUNT;
            IF touched <> cardinality(s_intent_id) THEN RAISE EXCEPTION USING ERRCODE = 'OF003'; END IF;
        END IF;
        IF u_id IS NOT NULL THEN
            UPDATE intent SET status = v.status, version = v.version, cum_quantity = v.cum_quantity,
                venue_cum_quantity = v.venue_cum_quantity, venue_order_id = v.venue_order_id, reason = v.reason,
                anomaly = v.anomaly, parked = v.parked, cancel_wanted = v.cancel_wanted, closed = v.closed,
                answer = v.answer, replaced = v.replaced, reversed_quantity = v.reversed_quantity, last_day = v.day
            FROM unnest(u_id, u_expected, u_status, u_version, u_cum_quantity, u_venue_cum_quantity, u_venue_order_id,
                u_reason, u_anomaly, u_parked, u_cancel_wanted, u_closed, u_answer, u_replaced, u_reversed_quantity, u_day)
                AS v (id, expected, status, version, cum_quantity, venue_cum_quantity, venue_order_id, reason, anomaly,
                parked, cancel_wanted, closed, answer, replaced, reversed_quantity, day)
            WHERE intent.id = v.id AND intent.version = v.expected;
            GET DIAGNOSTICS touched = ROW_COUNT;
            IF touched <> cardinality(u_id) THEN RAISE EXCEPTION USING ERRCODE = 'OF003'; END IF;
        END IF;
        IF rare IS NOT NULL THEN PERFORM commit_rare(rare::jsonb); END IF;
        IF p_route IS NOT NULL THEN
            INSERT INTO cursor (route, stream, position)
            SELECT v.route, v.stream, 0 FROM unnest(p_route, p_stream, p_previous) AS v (route, stream, previous)
            WHERE v.previous = 0 ON CONFLICT DO NOTHING;
            UPDATE cursor SET position = v.position
            FROM unnest(p_route, p_stream, p_previous, p_position) AS v (route, stream, previous, position)
            WHERE cursor.route = v.route AND cursor.stream = v.stream AND cursor.position = v.previous;
            GET DIAGNOSTICS touched = ROW_COUNT;
            IF touched <> cardinality(p_route) THEN RAISE EXCEPTION USING ERRCODE = 'OF003'; END IF;
        END IF;
        IF e_id IS NOT NULL THEN
            INSERT INTO execution (id, route, scope, execution_id, intent_id, account, strategy, instrument, side, quantity,
                price, client_order_id, venue_order_id, transacted_at_us, recorded_at_us, kind, refers_to, fee,
                fee_currency, stream)
            SELECT * FROM unnest(e_id, e_route, e_scope, e_execution_id, e_intent_id, e_account, e_strategy, e_instrument,
                e_side, e_quantity, e_price, e_client_order_id, e_venue_order_id, e_transacted_at_us, e_recorded_at_us,
                e_kind, e_refers_to, e_fee, e_fee_currency, e_stream);
        END IF;
        IF j_id IS NOT NULL THEN
            INSERT INTO journal (id, intent_id, kind, payload, at_us, epoch, previous_hash, hash, day)
            SELECT * FROM unnest(j_id, j_intent_id, j_kind, j_payload, j_at_us, j_epoch, j_previous_hash, j_hash, j_day);
        END IF;
    EXCEPTION
        WHEN SQLSTATE 'OF002' THEN
            RETURN json_build_object('why', 'OF002', 'taken', (
                SELECT json_agg(v.id) FROM unnest(i_id, i_route, i_digest, i_client_order_id)
                    AS v (id, route, digest, client_order_id)
                WHERE EXISTS (SELECT 1 FROM intent WHERE key_digest = v.digest)
                    OR EXISTS (SELECT 1 FROM intent WHERE route = v.route AND client_order_id = v.client_order_id)
                    OR EXISTS (SELECT 1 FROM intent WHERE id = v.id)
            ))::text;
        WHEN SQLSTATE 'OF001' OR SQLSTATE 'OF003' OR integrity_constraint_violation OR data_exception
            OR program_limit_exceeded OR cardinality_violation THEN
            GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, said = MESSAGE_TEXT;
            RETURN json_build_object('why', code, 'said', said)::text;
    END;
    RETURN NULL;
END $$;
