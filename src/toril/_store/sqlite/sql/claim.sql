-- claim.candidates: The next jobs in order, as records, and how large their data is; large data is
-- left out. Names in the last binding but one are passed over.
SELECT json_group_array(json_array(key, lane, size, json_array(
    ?2, id, name, data, opts, 'active', created_ms, priority, delay_ms, due_ms, ?5, NULL,
    attempts_made, runs + 1, stalls, unknown, progress, NULL, reason, json(iif(json_valid(stack), stack, '[]')),
    ?6, parent_queue, parent_id, schedule, dedup, deferred, origin, NULL, cancelled
)))
FROM (
    SELECT * FROM (
        SELECT
            key, octet_length(data) AS size, id, name, iif(octet_length(data) > ?8, '', data) AS data,
            opts, created_ms, priority, delay_ms, due_ms, attempts_made, runs, stalls, unknown,
            progress, reason, stack, parent_queue, parent_id, schedule, dedup, deferred, origin,
            cancelled, lane, position
        FROM jobs
        WHERE queue = ?1 AND state IN ('waiting', 'prioritized')
        ORDER BY lane, position
        LIMIT ?4
    )
    WHERE name NOT IN (SELECT value FROM json_each(?7))
    ORDER BY lane, position
    LIMIT ?3
);

-- claim.data: The data of a job.
SELECT data FROM jobs WHERE key = ?1;

-- claim.first: The first of the next jobs, as far ahead; names in the last binding are passed over.
SELECT key, id FROM (
    SELECT key, id, name, lane, position FROM jobs
    WHERE queue = ?1 AND state IN ('waiting', 'prioritized')
    ORDER BY lane, position
    LIMIT ?2
)
WHERE name NOT IN (SELECT value FROM json_each(?3))
ORDER BY lane, position
LIMIT 1;

-- claim.take: Put jobs under a lock; keys are the last binding.
UPDATE jobs SET
    state = 'active', started_ms = ?1, runs = runs + 1, worker = ?2, token = ?3, lock_until = ?4,
    owner = ?5
WHERE key IN (SELECT value FROM json_each(?6));

-- claim.due: Delayed jobs of a queue that are due, in the order in which they became so.
SELECT json_group_array(json_array(key, id, priority))
FROM (
    SELECT key, id, priority FROM jobs
    WHERE queue = ?1 AND state = 'delayed' AND due_ms <= ?2
    ORDER BY due_ms, position
    LIMIT ?3
);

-- claim.next_due: When the next delayed job of a queue is due.
SELECT min(due_ms) FROM jobs WHERE queue = ?1 AND state = 'delayed';

-- claim.renew: Extend locks that are still held: key or null, queue, id, token.
UPDATE jobs SET lock_until = ?1
WHERE state = 'active' AND key IN (SELECT value FROM json_each(?2));

-- claim.held: Which of these locks are held: number of each, and the job's key.
SELECT json_group_array(json_array(asked.key, jobs.key))
FROM json_each(?1) AS asked
JOIN queues ON queues.name = asked.value ->> 0
JOIN jobs ON jobs.queue = queues.key AND jobs.id = asked.value ->> 1
WHERE jobs.state = 'active' AND jobs.token = asked.value ->> 2;

-- claim.asked: Which of these locks hold jobs that somebody wants to end: number of each, and why.
SELECT json_group_array(json_array(asked.key, jobs.cancelled))
FROM json_each(?1) AS asked
JOIN queues ON queues.name = asked.value ->> 0
JOIN jobs ON jobs.queue = queues.key AND jobs.id = asked.value ->> 1
WHERE
    jobs.state = 'active' AND jobs.token = asked.value ->> 2 AND jobs.cancelled IS NOT NULL;

-- claim.stalled: Active jobs without a living lock: its time is over, or its owner is dead.
-- The process is named where it is known to be dead.
SELECT json_group_array(json_array(
    key, name, id, task, stalls, alone, runs, worker, started_ms, once, host, pid
))
FROM (
    SELECT
        jobs.key, queues.name, jobs.id, jobs.name AS task, jobs.stalls, jobs.alone = jobs.runs AS alone, jobs.runs,
        jobs.worker, jobs.started_ms,
        iif(json_valid(jobs.opts), jobs.opts, '{}') ->> '$.toril.on_crash' = 'fail' AS once,
        processes.host, processes.pid
    FROM jobs
    JOIN queues ON queues.key = jobs.queue
    LEFT JOIN processes
        ON processes.key = jobs.owner AND jobs.owner IN (SELECT value FROM json_each(?2))
    WHERE
        jobs.state = 'active'
        AND (
            jobs.lock_until <= ?1
            OR jobs.owner IN (SELECT value FROM json_each(?2))
            OR jobs.worker IN (SELECT value FROM json_each(?4))
        )
        AND (?3 = '[]' OR queues.name IN (SELECT value FROM json_each(?3)))
    LIMIT ?5
);

-- claim.overdue: Jobs that wait although their time may be over, as far as a record needs them.
SELECT json_group_array(json_array(key, json_array(
    queue, id, '', '', iif(json_valid(opts), opts, '{}'), state, created_ms, 0, 0, NULL, NULL,
    NULL, attempts_made, runs, stalls, unknown
)))
FROM (
    SELECT
        jobs.key, queues.name AS queue, jobs.id, jobs.opts, jobs.state, jobs.created_ms,
        jobs.attempts_made, jobs.runs, jobs.stalls, jobs.unknown
    FROM jobs
    JOIN queues ON queues.key = jobs.queue
    WHERE
        jobs.limit_ms <= ?1
        AND jobs.state IN ('waiting', 'prioritized', 'delayed', 'waiting-children')
        AND (?2 = '[]' OR queues.name IN (SELECT value FROM json_each(?2)))
    ORDER BY jobs.limit_ms
    LIMIT ?3
);

-- claim.overdue_job: One job, if it waits although its time may be over, as claim.overdue tells.
SELECT json_group_array(json_array(jobs.key, json_array(
    queues.name, jobs.id, '', '', iif(json_valid(opts), opts, '{}'), state, created_ms, 0, 0, NULL,
    NULL, NULL, attempts_made, runs, stalls, unknown
)))
FROM jobs
JOIN queues ON queues.key = jobs.queue
WHERE
    jobs.key = ?2 AND jobs.limit_ms <= ?1
    AND jobs.state IN ('waiting', 'prioritized', 'delayed', 'waiting-children');

-- claim.limit: Note when a job that waits may be over next.
UPDATE jobs SET limit_ms = ?2 WHERE key = ?1;

-- claim.take_back: Put stalled jobs to the front of waiting: key, position, deferred failure, stalls.
UPDATE jobs SET
    state = 'waiting', lane = 0, position = taken.value ->> 1, stalls = taken.value ->> 3,
    deferred = coalesce(taken.value ->> 2, deferred), token = NULL, lock_until = NULL, owner = NULL
FROM json_each(?1) AS taken
WHERE jobs.key = taken.value ->> 0;
