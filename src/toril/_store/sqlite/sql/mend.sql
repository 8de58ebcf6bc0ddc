-- mend.jobs: Make the text of jobs UTF-8, stacks lists of text, and numbers such as JSON keeps.
-- A job whose own text was no UTF-8 is to fail: what it would run is not what was stored.
UPDATE jobs SET
    id = iif(sound(CAST(id AS BLOB)), id, mended(CAST(id AS BLOB)) || '-' || key),
    name = mended(CAST(name AS BLOB)),
    data = mended(CAST(data AS BLOB)),
    opts = mended(CAST(opts AS BLOB)),
    progress = mended(CAST(progress AS BLOB)),
    result = mended(CAST(result AS BLOB)),
    reason = mended(CAST(reason AS BLOB)),
    stack = iif(texts(CAST(stack AS BLOB)), stack, '[]'),
    worker = mended(CAST(worker AS BLOB)),
    parent_queue = mended(CAST(parent_queue AS BLOB)),
    parent_id = mended(CAST(parent_id AS BLOB)),
    policy = mended(CAST(policy AS BLOB)),
    schedule = mended(CAST(schedule AS BLOB)),
    dedup = mended(CAST(dedup AS BLOB)),
    origin = mended(CAST(origin AS BLOB)),
    token = mended(CAST(token AS BLOB)),
    settled_by = mended(CAST(settled_by AS BLOB)),
    cancelled = mended(CAST(cancelled AS BLOB)),
    fingerprint = mended(CAST(fingerprint AS BLOB)),
    slot = bounded(slot),
    deferred = iif(
        state IN ('completed', 'failed')
        OR sound(CAST(id AS BLOB), CAST(name AS BLOB), CAST(data AS BLOB), CAST(opts AS BLOB)),
        mended(CAST(deferred AS BLOB)),
        coalesce(
            mended(CAST(deferred AS BLOB)),
            'its stored text cannot be read: it is not UTF-8 (another program wrote it)'
        )
    ),
    lane = bounded(lane),
    position = bounded(position),
    priority = bounded(priority),
    delay_ms = bounded(delay_ms),
    created_ms = bounded(created_ms),
    due_ms = bounded(due_ms),
    started_ms = bounded(started_ms),
    finished_ms = bounded(finished_ms),
    expires_ms = bounded(expires_ms),
    limit_ms = bounded(limit_ms),
    lock_until = bounded(lock_until),
    attempts_made = bounded(attempts_made),
    runs = bounded(runs),
    stalls = bounded(stalls),
    alone = bounded(alone),
    unknown = bounded(unknown)
WHERE
    NOT sound(
        CAST(id AS BLOB), CAST(name AS BLOB), CAST(data AS BLOB), CAST(opts AS BLOB),
        CAST(progress AS BLOB), CAST(result AS BLOB), CAST(reason AS BLOB),
        CAST(worker AS BLOB), CAST(parent_queue AS BLOB), CAST(parent_id AS BLOB),
        CAST(policy AS BLOB), CAST(schedule AS BLOB), CAST(dedup AS BLOB),
        CAST(deferred AS BLOB), CAST(origin AS BLOB), CAST(token AS BLOB),
        CAST(settled_by AS BLOB), CAST(cancelled AS BLOB), CAST(fingerprint AS BLOB)
    )
    OR NOT texts(CAST(stack AS BLOB))
    OR NOT whole(
        lane, position, priority, delay_ms, created_ms, due_ms, started_ms, finished_ms,
        expires_ms, limit_ms, lock_until, attempts_made, runs, stalls, alone, unknown, slot
    )
RETURNING queue;

-- mend.queues: The same for queues; a retention that is none is forgotten.
UPDATE queues SET
    name = iif(sound(CAST(name AS BLOB)), name, mended(CAST(name AS BLOB)) || '-' || key),
    dead_letter = mended(CAST(dead_letter AS BLOB)),
    keep_completed = iif(retention(CAST(keep_completed AS BLOB)), keep_completed, NULL),
    keep_failed = iif(retention(CAST(keep_failed AS BLOB)), keep_failed, NULL),
    ids = bounded(ids),
    positions = bounded(positions),
    events = bounded(events),
    concurrency = bounded(concurrency),
    rate_max = bounded(rate_max),
    rate_ms = bounded(rate_ms),
    window_used = bounded(window_used),
    window_max = bounded(window_max),
    window_end = bounded(window_end),
    limited_until = bounded(limited_until),
    ever_completed = bounded(ever_completed),
    ever_failed = bounded(ever_failed),
    events_limit = bounded(events_limit),
    max_waiting = bounded(max_waiting),
    pause = mended(CAST(pause AS BLOB)),
    pause_since = bounded(pause_since),
    pause_until = bounded(pause_until)
WHERE
    NOT sound(CAST(name AS BLOB), CAST(dead_letter AS BLOB), CAST(pause AS BLOB))
    OR NOT retention(CAST(keep_completed AS BLOB))
    OR NOT retention(CAST(keep_failed AS BLOB))
    OR NOT whole(
        ids, positions, events, concurrency, rate_max, rate_ms, window_used, window_max,
        window_end, limited_until, ever_completed, ever_failed, events_limit,
        max_waiting, pause_since, pause_until
    )
RETURNING key;

-- mend.counts: Count the jobs of queues by state where the numbers that are kept are wrong.
UPDATE queues SET
    waiting = found.waiting, prioritized = found.prioritized, delayed = found.delayed,
    active = found.active, waiting_children = found.waiting_children,
    completed = found.completed, failed = found.failed, counted = events
FROM job_counts AS found
WHERE
    found.queue = queues.key
    AND (
        counted, queues.waiting, queues.prioritized, queues.delayed, queues.active,
        queues.waiting_children, queues.completed, queues.failed
    ) != (
        events, found.waiting, found.prioritized, found.delayed, found.active,
        found.waiting_children, found.completed, found.failed
    );

-- mend.children: The same for what parents know of their children.
UPDATE OR IGNORE children SET
    queue = mended(CAST(queue AS BLOB)),
    id = mended(CAST(id AS BLOB)),
    name = mended(CAST(name AS BLOB)),
    value = mended(CAST(value AS BLOB))
WHERE NOT sound(
    CAST(queue AS BLOB), CAST(id AS BLOB), CAST(name AS BLOB), CAST(value AS BLOB)
);

-- mend.tries: The same for attempts.
UPDATE OR IGNORE tries SET
    run = bounded(run),
    worker = mended(CAST(worker AS BLOB)),
    started_ms = bounded(started_ms),
    ended_ms = bounded(ended_ms),
    ending = mended(CAST(ending AS BLOB)),
    reason = mended(CAST(reason AS BLOB)),
    slot = bounded(slot),
    fingerprint = mended(CAST(fingerprint AS BLOB))
WHERE
    NOT sound(
        CAST(worker AS BLOB), CAST(ending AS BLOB), CAST(reason AS BLOB), CAST(fingerprint AS BLOB)
    )
    OR NOT whole(run, started_ms, ended_ms, slot);

-- mend.logs: The same for lines of logs.
UPDATE logs SET text = mended(CAST(text AS BLOB)) WHERE NOT sound(CAST(text AS BLOB));

-- mend.dedup: The same for dedup keys.
UPDATE OR IGNORE dedup SET
    word = mended(CAST(word AS BLOB)),
    id = mended(CAST(id AS BLOB)),
    expires_ms = bounded(expires_ms),
    next = mended(CAST(next AS BLOB))
WHERE
    NOT sound(CAST(word AS BLOB), CAST(id AS BLOB), CAST(next AS BLOB))
    OR NOT whole(expires_ms)
RETURNING queue;

-- mend.schedules: The same for schedules.
UPDATE OR IGNORE schedules SET
    id = mended(CAST(id AS BLOB)),
    name = mended(CAST(name AS BLOB)),
    rule = mended(CAST(rule AS BLOB)),
    data = mended(CAST(data AS BLOB)),
    opts = mended(CAST(opts AS BLOB)),
    count = bounded(count),
    next_ms = bounded(next_ms),
    job_id = mended(CAST(job_id AS BLOB)),
    owner = mended(CAST(owner AS BLOB)),
    pause = mended(CAST(pause AS BLOB)),
    pause_since = bounded(pause_since)
WHERE
    NOT sound(
        CAST(id AS BLOB), CAST(name AS BLOB), CAST(rule AS BLOB), CAST(data AS BLOB),
        CAST(opts AS BLOB), CAST(job_id AS BLOB), CAST(owner AS BLOB), CAST(pause AS BLOB)
    )
    OR NOT whole(count, next_ms, pause_since)
RETURNING queue;

-- mend.moves: The same for what came from other stores.
UPDATE OR IGNORE moves SET
    origin = mended(CAST(origin AS BLOB)),
    receipt = mended(CAST(receipt AS BLOB))
WHERE NOT sound(CAST(origin AS BLOB), CAST(receipt AS BLOB));

-- mend.events: Forget events that are none.
UPDATE events SET body = '[]' WHERE NOT happenings(CAST(body AS BLOB))
RETURNING queue;

-- mend.metrics: Forget counts that are none.
DELETE FROM metrics WHERE NOT whole(minute, count);

-- mend.processes: The same for processes; a lock or a doorbell that is none leads nowhere.
UPDATE processes SET
    host = mended(CAST(host AS BLOB)),
    lock = mended(CAST(lock AS BLOB)),
    bell = mended(CAST(bell AS BLOB)),
    pid = bounded(pid),
    started_ms = bounded(started_ms)
WHERE
    NOT sound(CAST(host AS BLOB), CAST(lock AS BLOB), CAST(bell AS BLOB))
    OR NOT whole(pid, started_ms);

-- mend.workers: The same for workers.
UPDATE OR IGNORE workers SET
    id = mended(CAST(id AS BLOB)),
    name = mended(CAST(name AS BLOB)),
    host = mended(CAST(host AS BLOB)),
    queues = iif(texts(CAST(queues AS BLOB)), queues, '[]'),
    declares = iif(texts(CAST(declares AS BLOB)), declares, NULL),
    rate = mended(CAST(rate AS BLOB)),
    vitals = iif(sound(CAST(vitals AS BLOB)), vitals, NULL),
    pid = bounded(pid),
    concurrency = bounded(concurrency),
    active = bounded(active),
    started_ms = bounded(started_ms),
    seen_ms = bounded(seen_ms)
WHERE
    NOT sound(CAST(id AS BLOB), CAST(name AS BLOB), CAST(host AS BLOB), CAST(rate AS BLOB))
    OR NOT sound(CAST(vitals AS BLOB))
    OR NOT texts(CAST(queues AS BLOB))
    OR NOT texts(CAST(declares AS BLOB))
    OR NOT whole(pid, concurrency, active, started_ms, seen_ms);

-- mend.samples: Forget what was counted and cannot be read.
DELETE FROM samples WHERE NOT sound(CAST(body AS BLOB)) OR NOT whole(at_ms);

-- mend.series: The same for buckets.
DELETE FROM series
WHERE NOT sound(CAST(span AS BLOB), CAST(task AS BLOB), CAST(body AS BLOB)) OR NOT whole(number);

-- mend.tasks: The same for the names that queues are counted by.
DELETE FROM tasks WHERE NOT texts(CAST(names AS BLOB));

-- mend.errors: Forget groups of errors that cannot be read.
DELETE FROM errors
WHERE NOT sound(CAST(fingerprint AS BLOB), CAST(body AS BLOB)) OR NOT whole(last_ms);

-- mend.notes: Forget notes that cannot be read.
DELETE FROM notes
WHERE NOT sound(CAST(kind AS BLOB), CAST(id AS BLOB), CAST(body AS BLOB)) OR NOT whole(at_ms);

-- mend.indexed: Forget fields by which nobody can find a job.
DELETE FROM indexed WHERE NOT sound(CAST(field AS BLOB), CAST(value AS BLOB));
