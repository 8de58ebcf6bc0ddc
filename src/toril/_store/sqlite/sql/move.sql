-- move.extras: What hangs on jobs beside their records: number, log, family, armed, hold.
SELECT json_group_array(json_array(
    asked.key,
    json((
        SELECT json_group_array(text)
        FROM (SELECT text FROM logs WHERE logs.job = jobs.key ORDER BY line)
    )),
    jobs.family,
    EXISTS (
        SELECT 1 FROM schedules WHERE schedules.queue = jobs.queue AND schedules.job_id = jobs.id
    ),
    json((
        SELECT json_array(expires_ms, next) FROM dedup
        WHERE dedup.queue = jobs.queue AND dedup.word = jobs.dedup AND dedup.id = jobs.id
    ))
))
FROM json_each(?1) AS asked
JOIN queues ON queues.name = asked.value ->> 0
JOIN jobs ON jobs.queue = queues.key AND jobs.id = asked.value ->> 1;

-- move.known: Jobs that exist, of those asked for: queue, id, key, origin, when it was added.
SELECT json_group_array(json_array(queues.name, jobs.id, jobs.key, jobs.origin, jobs.created_ms))
FROM json_each(?1) AS asked
JOIN queues ON queues.name = asked.value ->> 0
JOIN jobs ON jobs.queue = queues.key AND jobs.id = asked.value ->> 1;

-- move.jobs: Store jobs with every column as it stood in another store.
INSERT INTO jobs (
    key, queue, id, name, data, opts, state, lane, position, priority, delay_ms, created_ms,
    due_ms, started_ms, finished_ms, expires_ms, attempts_made, runs, stalls, unknown,
    progress, result, reason, stack, worker, parent, parent_queue, parent_id, policy, family,
    schedule, dedup, deferred, origin, letter, cancelled, limit_ms, slot, fingerprint
)
SELECT
    value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
    value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13,
    value ->> 14, value ->> 15, value ->> 16, value ->> 17, value ->> 18, value ->> 19,
    value ->> 20, value ->> 21, value ->> 22, value ->> 23, value ->> 24, value ->> 25,
    value ->> 26, value ->> 27, value ->> 28, value ->> 29, value ->> 30, value ->> 31,
    value ->> 32, value ->> 33, value ->> 34, value ->> 35, value ->> 36, value ->> 37,
    value ->> 38
FROM json_each(?1);

-- move.lines: Store the logs of jobs: job, number, text.
INSERT INTO logs (job, line, text)
SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1);

-- move.receipt: What a queue took last from an origin.
SELECT receipt FROM moves WHERE queue = ?1 AND origin = ?2;

-- move.note: Note what a queue took last from an origin.
INSERT INTO moves (queue, origin, receipt) VALUES (?1, ?2, ?3)
ON CONFLICT (queue, origin) DO UPDATE SET receipt = excluded.receipt;

-- move.standing: Jobs that are to go: key, id, state, when it was added, dedup key.
SELECT json_group_array(json_array(key, id, state, created_ms, dedup))
FROM jobs
WHERE queue = ?1 AND id IN (SELECT value FROM json_each(?2));
