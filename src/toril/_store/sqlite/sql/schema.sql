-- The tables as they stand: the sum of all migrations. All times are ms since the epoch.

-- A queue: its counters, its limits, and how many jobs are in each state, valid while `counted` is
-- the number of the newest event.
CREATE TABLE queues (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    ids INTEGER NOT NULL DEFAULT 0,
    positions INTEGER NOT NULL DEFAULT 0,
    events INTEGER NOT NULL DEFAULT 0,
    paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    concurrency INTEGER CHECK (concurrency > 0),
    rate_max INTEGER CHECK (rate_max > 0),
    rate_ms INTEGER CHECK (rate_ms > 0),
    window_used INTEGER NOT NULL DEFAULT 0,
    window_max INTEGER NOT NULL DEFAULT 0,
    window_end INTEGER NOT NULL DEFAULT 0,
    limited_until INTEGER NOT NULL DEFAULT 0,
    completed INTEGER NOT NULL DEFAULT 0 CHECK (completed >= 0),
    failed INTEGER NOT NULL DEFAULT 0 CHECK (failed >= 0),
    ever_completed INTEGER NOT NULL DEFAULT 0,
    ever_failed INTEGER NOT NULL DEFAULT 0,
    keep_completed TEXT,
    keep_failed TEXT,
    dead_letter TEXT,
    events_limit INTEGER NOT NULL DEFAULT 10000, declared INTEGER NOT NULL DEFAULT 0, max_waiting INTEGER CHECK (max_waiting > 0), waiting INTEGER NOT NULL DEFAULT 0 CHECK (waiting >= 0), prioritized INTEGER NOT NULL DEFAULT 0 CHECK (prioritized >= 0), delayed INTEGER NOT NULL DEFAULT 0 CHECK (delayed >= 0), active INTEGER NOT NULL DEFAULT 0 CHECK (active >= 0), waiting_children INTEGER NOT NULL DEFAULT 0 CHECK (waiting_children >= 0), counted INTEGER NOT NULL DEFAULT -1, pause TEXT, pause_since INTEGER, pause_until INTEGER,
    CHECK ((rate_max IS NULL) = (rate_ms IS NULL))
) STRICT;

-- A job. Ready jobs run by (lane, position): lane 0 is waiting, the others are priorities.
CREATE TABLE jobs (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    queue INTEGER NOT NULL REFERENCES queues (key),
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    data TEXT NOT NULL,
    opts TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN (
        'waiting', 'prioritized', 'delayed', 'active', 'waiting-children', 'completed', 'failed'
    )),
    lane INTEGER NOT NULL DEFAULT 0,
    position INTEGER NOT NULL,
    priority INTEGER NOT NULL DEFAULT 0,
    delay_ms INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL,
    due_ms INTEGER,
    started_ms INTEGER,
    finished_ms INTEGER,
    expires_ms INTEGER,
    attempts_made INTEGER NOT NULL DEFAULT 0,
    runs INTEGER NOT NULL DEFAULT 0,
    stalls INTEGER NOT NULL DEFAULT 0,
    alone INTEGER NOT NULL DEFAULT 0,
    unknown INTEGER NOT NULL DEFAULT 0,
    progress TEXT,
    result TEXT,
    reason TEXT,
    stack TEXT,
    worker TEXT,
    parent INTEGER,
    parent_queue TEXT,
    parent_id TEXT,
    policy TEXT,
    family INTEGER NOT NULL DEFAULT 0,
    schedule TEXT,
    dedup TEXT,
    deferred TEXT,
    origin TEXT,
    letter INTEGER,
    token TEXT,
    lock_until INTEGER,
    owner INTEGER,
    settled_by TEXT, cancelled TEXT, limit_ms INTEGER, slot INTEGER, fingerprint TEXT,
    UNIQUE (queue, id),
    CHECK ((state = 'active') = (token IS NOT NULL)),
    CHECK ((state = 'active') = (lock_until IS NOT NULL)),
    CHECK ((state IN ('completed', 'failed')) = (finished_ms IS NOT NULL)),
    CHECK (state != 'delayed' OR due_ms IS NOT NULL),
    CHECK (state != 'waiting' OR lane = 0),
    CHECK (state != 'prioritized' OR lane > 0)
) STRICT;

CREATE INDEX jobs_ready ON jobs (queue, lane, position)
WHERE state IN ('waiting', 'prioritized');

CREATE INDEX jobs_delayed ON jobs (queue, due_ms, position)
WHERE state = 'delayed';

CREATE INDEX jobs_active ON jobs (queue)
WHERE state = 'active';

CREATE INDEX jobs_parents ON jobs (queue, created_ms)
WHERE state = 'waiting-children';

CREATE INDEX jobs_finished ON jobs (queue, state, finished_ms, position)
WHERE state IN ('completed', 'failed');

CREATE INDEX jobs_expiring ON jobs (expires_ms)
WHERE expires_ms IS NOT NULL;

CREATE INDEX jobs_limited ON jobs (limit_ms)
WHERE limit_ms IS NOT NULL
    AND state IN ('waiting', 'prioritized', 'delayed', 'waiting-children');

CREATE INDEX jobs_blamed ON jobs (queue, fingerprint, finished_ms)
WHERE fingerprint IS NOT NULL;

-- How many jobs of each queue are in each state, counted.
CREATE VIEW job_counts AS
SELECT
    queues.key AS queue,
    (
        SELECT count(*) FROM jobs
        WHERE queue = queues.key AND state IN ('waiting', 'prioritized') AND lane = 0
    ) AS waiting,
    (
        SELECT count(*) FROM jobs
        WHERE queue = queues.key AND state IN ('waiting', 'prioritized') AND lane > 0
    ) AS prioritized,
    (SELECT count(*) FROM jobs WHERE queue = queues.key AND state = 'delayed') AS delayed,
    (SELECT count(*) FROM jobs WHERE queue = queues.key AND state = 'active') AS active,
    (
        SELECT count(*) FROM jobs WHERE queue = queues.key AND state = 'waiting-children'
    ) AS waiting_children,
    (
        SELECT count(*) FROM jobs
        WHERE queue = queues.key AND state = 'completed' AND state IN ('completed', 'failed')
    ) AS completed,
    (
        SELECT count(*) FROM jobs
        WHERE queue = queues.key AND state = 'failed' AND state IN ('completed', 'failed')
    ) AS failed
FROM queues;

-- What a parent knows of its children; it outlives them. A pending child with a value has
-- failed and blocks its parent (policy wait).
CREATE TABLE children (
    key INTEGER PRIMARY KEY,
    parent INTEGER NOT NULL REFERENCES jobs (key) ON DELETE CASCADE,
    queue TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('pending', 'completed', 'failed', 'ignored')),
    value TEXT,
    UNIQUE (parent, queue, id)
) STRICT;

CREATE INDEX children_open ON children (parent)
WHERE outcome IN ('pending', 'failed');

-- The starts of a job that did not complete it.
CREATE TABLE tries (
    job INTEGER NOT NULL REFERENCES jobs (key) ON DELETE CASCADE,
    run INTEGER NOT NULL,
    worker TEXT,
    started_ms INTEGER,
    ended_ms INTEGER NOT NULL,
    ending TEXT NOT NULL,
    reason TEXT, slot INTEGER, fingerprint TEXT,
    PRIMARY KEY (job, run)
) STRICT, WITHOUT ROWID;

CREATE TABLE logs (
    job INTEGER NOT NULL REFERENCES jobs (key) ON DELETE CASCADE,
    line INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (job, line)
) STRICT, WITHOUT ROWID;

-- Who holds a dedup key; `next` is the duplicate that runs after the active one, as JSON.
CREATE TABLE dedup (
    queue INTEGER NOT NULL REFERENCES queues (key) ON DELETE CASCADE,
    word TEXT NOT NULL,
    id TEXT NOT NULL,
    expires_ms INTEGER,
    next TEXT,
    PRIMARY KEY (queue, word)
) STRICT, WITHOUT ROWID;

CREATE TABLE schedules (
    queue INTEGER NOT NULL REFERENCES queues (key) ON DELETE CASCADE,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    rule TEXT NOT NULL,
    data TEXT NOT NULL,
    opts TEXT NOT NULL,
    count INTEGER NOT NULL DEFAULT 0,
    next_ms INTEGER,
    job_id TEXT, owner TEXT, pause TEXT, pause_since INTEGER,
    PRIMARY KEY (queue, id)
) STRICT, WITHOUT ROWID;

-- What a queue took last from another store, so that a move which is cut off can go on.
CREATE TABLE moves (
    queue INTEGER NOT NULL REFERENCES queues (key) ON DELETE CASCADE,
    origin TEXT NOT NULL,
    receipt TEXT NOT NULL,
    PRIMARY KEY (queue, origin)
) STRICT, WITHOUT ROWID;

-- Events in runs: `body` is the JSON array of the events numbered first … last.
CREATE TABLE events (
    queue INTEGER NOT NULL REFERENCES queues (key) ON DELETE CASCADE,
    last INTEGER NOT NULL,
    first INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (queue, last)
) STRICT, WITHOUT ROWID;

CREATE TABLE metrics (
    queue INTEGER NOT NULL REFERENCES queues (key) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('completed', 'failed')),
    minute INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (queue, kind, minute)
) STRICT, WITHOUT ROWID;

-- The processes that have the file open: the lock that ends with them, and their doorbell.
CREATE TABLE processes (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    lock TEXT NOT NULL,
    bell TEXT,
    started_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    process INTEGER NOT NULL REFERENCES processes (key) ON DELETE CASCADE,
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    queues TEXT NOT NULL,
    concurrency INTEGER NOT NULL,
    rate TEXT,
    active INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL
, declares TEXT, vitals TEXT) STRICT, WITHOUT ROWID;

-- The number of the newest event of any queue that was obliterated: no queue begins below it.
CREATE TABLE obliterated (
    key INTEGER PRIMARY KEY CHECK (key = 1),
    events INTEGER NOT NULL
) STRICT;

-- What transactions counted in a queue, until it is added up in buckets: JSON, by task.
CREATE TABLE samples (
    key INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL REFERENCES queues (key) ON DELETE CASCADE,
    at_ms INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;

-- Counters of a queue (task '') and of its tasks by five minutes ('5'), hour ('h') and day ('d').
CREATE TABLE series (
    queue INTEGER NOT NULL REFERENCES queues (key) ON DELETE CASCADE,
    span TEXT NOT NULL,
    number INTEGER NOT NULL,
    task TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (queue, span, number, task)
) STRICT, WITHOUT ROWID;

-- The names of jobs that a queue is counted by, as a JSON array.
CREATE TABLE tasks (
    queue INTEGER PRIMARY KEY REFERENCES queues (key) ON DELETE CASCADE,
    names TEXT NOT NULL
) STRICT;

-- Groups of failed attempts that have one cause: JSON.
CREATE TABLE errors (
    queue INTEGER NOT NULL REFERENCES queues (key) ON DELETE CASCADE,
    fingerprint TEXT NOT NULL,
    last_ms INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (queue, fingerprint)
) STRICT, WITHOUT ROWID;

-- Notes of the whole store, by kind; one with an id of its own is replaced when it is noted again.
CREATE TABLE notes (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    id TEXT,
    at_ms INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (kind, id)
) STRICT;

CREATE INDEX notes_by_kind ON notes (kind, key);

-- The fields by which jobs are found: values of their data that were declared, and tags.
CREATE TABLE indexed (
    queue INTEGER NOT NULL,
    field TEXT NOT NULL,
    value TEXT NOT NULL,
    job INTEGER NOT NULL REFERENCES jobs (key) ON DELETE CASCADE,
    PRIMARY KEY (queue, field, value, job)
) STRICT, WITHOUT ROWID;

CREATE INDEX indexed_jobs ON indexed (job);
