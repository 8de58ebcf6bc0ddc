-- read.begin: See one moment from here on.
BEGIN;

-- read.end: See what comes after that moment again.
COMMIT;

-- read.original: What a dead letter says of its job.
SELECT name, data, opts FROM jobs WHERE queue = ?1 AND id = ?2;

-- read.jobs: Jobs by queue and id, with their tries if the second binding says so: number, record.
SELECT json_group_array(json_array(asked.key, json_array(
    queues.name, jobs.id, jobs.name, jobs.data, jobs.opts, jobs.state, jobs.created_ms,
    jobs.priority, jobs.delay_ms, jobs.due_ms, jobs.started_ms, jobs.finished_ms,
    jobs.attempts_made, jobs.runs, jobs.stalls, jobs.unknown, jobs.progress, jobs.result,
    jobs.reason, json(iif(json_valid(jobs.stack), jobs.stack, '[]')), jobs.worker, jobs.parent_queue,
    jobs.parent_id, jobs.schedule, jobs.dedup, jobs.deferred, jobs.origin,
    (
        SELECT letter_queue.name || ':' || letter.id
        FROM jobs AS letter
        JOIN queues AS letter_queue ON letter_queue.key = letter.queue
        WHERE letter.key = jobs.letter
    ),
    jobs.cancelled,
    json((
        SELECT json_group_array(json_array(
            run, worker, started_ms, ended_ms, ending, reason, slot, fingerprint
        ))
        FROM (SELECT * FROM tries WHERE ?2 AND tries.job = jobs.key ORDER BY run)
    )),
    jobs.slot, jobs.fingerprint,
    json((SELECT json_group_array(json_array(field, value)) FROM indexed WHERE job = jobs.key))
)))
FROM json_each(?1) AS asked
JOIN queues ON queues.name = asked.value ->> 0
JOIN jobs ON jobs.queue = queues.key AND jobs.id = asked.value ->> 1;

-- read.ready: A page of ready jobs in the order in which they would run. Those that are waiting are in
-- lane 0, so that a page of prioritized ones reads none of them.
SELECT json_group_array(id) FROM (
    SELECT id FROM jobs
    WHERE
        queue = (SELECT key FROM queues WHERE queues.name = ?1)
        AND state IN ('waiting', 'prioritized')
        AND lane BETWEEN (?2 = 'prioritized') AND iif(?2 = 'waiting', 0, 9e15)
        AND (?3 IS NULL OR name = ?3)
    ORDER BY lane, position
    LIMIT ?4 OFFSET ?5
);

-- read.ready_last: The same, those that would run last first.
SELECT json_group_array(id) FROM (
    SELECT id FROM jobs
    WHERE
        queue = (SELECT key FROM queues WHERE queues.name = ?1)
        AND state IN ('waiting', 'prioritized')
        AND lane BETWEEN (?2 = 'prioritized') AND iif(?2 = 'waiting', 0, 9e15)
        AND (?3 IS NULL OR name = ?3)
    ORDER BY lane DESC, position DESC
    LIMIT ?4 OFFSET ?5
);

-- read.delayed: A page of delayed jobs, soonest first.
SELECT json_group_array(id) FROM (
    SELECT id FROM jobs
    WHERE
        queue = (SELECT key FROM queues WHERE queues.name = ?1)
        AND state = 'delayed' AND (?3 IS NULL OR name = ?3)
    ORDER BY due_ms, position
    LIMIT ?4 OFFSET ?5
);

-- read.delayed_last: A page of delayed jobs, latest first.
SELECT json_group_array(id) FROM (
    SELECT id FROM jobs
    WHERE
        queue = (SELECT key FROM queues WHERE queues.name = ?1)
        AND state = 'delayed' AND (?3 IS NULL OR name = ?3)
    ORDER BY due_ms DESC, position DESC
    LIMIT ?4 OFFSET ?5
);

-- read.finished: A page of finished jobs, the first to finish first.
SELECT json_group_array(id) FROM (
    SELECT id FROM jobs
    WHERE
        queue = (SELECT key FROM queues WHERE queues.name = ?1)
        AND state = ?2 AND state IN ('completed', 'failed') AND (?3 IS NULL OR name = ?3)
    ORDER BY finished_ms, position
    LIMIT ?4 OFFSET ?5
);

-- read.finished_last: A page of finished jobs, the last to finish first.
SELECT json_group_array(id) FROM (
    SELECT id FROM jobs
    WHERE
        queue = (SELECT key FROM queues WHERE queues.name = ?1)
        AND state = ?2 AND state IN ('completed', 'failed') AND (?3 IS NULL OR name = ?3)
    ORDER BY finished_ms DESC, position DESC
    LIMIT ?4 OFFSET ?5
);

-- read.active: A page of active jobs, the first to start first.
SELECT json_group_array(id) FROM (
    SELECT id FROM jobs
    WHERE
        queue = (SELECT key FROM queues WHERE queues.name = ?1)
        AND state = 'active' AND (?3 IS NULL OR name = ?3)
    ORDER BY started_ms, key
    LIMIT ?4 OFFSET ?5
);

-- read.active_last: A page of active jobs, the last to start first.
SELECT json_group_array(id) FROM (
    SELECT id FROM jobs
    WHERE
        queue = (SELECT key FROM queues WHERE queues.name = ?1)
        AND state = 'active' AND (?3 IS NULL OR name = ?3)
    ORDER BY started_ms DESC, key DESC
    LIMIT ?4 OFFSET ?5
);

-- read.parents: A page of jobs that wait for children, oldest first.
SELECT json_group_array(id) FROM (
    SELECT id FROM jobs
    WHERE
        queue = (SELECT key FROM queues WHERE queues.name = ?1)
        AND state = 'waiting-children' AND (?3 IS NULL OR name = ?3)
    ORDER BY created_ms, key
    LIMIT ?4 OFFSET ?5
);

-- read.parents_last: A page of jobs that wait for children, newest first.
SELECT json_group_array(id) FROM (
    SELECT id FROM jobs
    WHERE
        queue = (SELECT key FROM queues WHERE queues.name = ?1)
        AND state = 'waiting-children' AND (?3 IS NULL OR name = ?3)
    ORDER BY created_ms DESC, key DESC
    LIMIT ?4 OFFSET ?5
);

-- read.dedup: The job that holds a dedup key now.
SELECT dedup.id
FROM dedup
JOIN queues ON queues.key = dedup.queue
JOIN jobs ON jobs.queue = dedup.queue AND jobs.id = dedup.id
WHERE
    queues.name = ?1 AND dedup.word = ?2
    AND (dedup.expires_ms IS NULL OR dedup.expires_ms > ?3);

-- read.counts: How many jobs of queues are in each state, whether those numbers hold, and
-- since when the job that would run next could have run.
SELECT json_group_array(json_array(
    queues.key, ifnull(queues.counted = queues.events, true),
    json_array(
        ifnull(waiting, 0), ifnull(prioritized, 0), ifnull(delayed, 0), ifnull(active, 0),
        ifnull(waiting_children, 0), ifnull(completed, 0), ifnull(failed, 0)
    ),
    (
        SELECT max(
            jobs.created_ms + ifnull(iif(json_valid(jobs.opts), jobs.opts ->> '$.delay', 0), 0),
            ifnull(iif(json_valid(jobs.opts), jobs.opts ->> '$.toril.at', 0), 0)
        )
        FROM jobs
        WHERE jobs.queue = queues.key AND jobs.state IN ('waiting', 'prioritized')
        ORDER BY jobs.lane, jobs.position
        LIMIT 1
    )
))
FROM json_each(?1) AS asked
LEFT JOIN queues ON queues.name = asked.value;

-- read.children: A page of a job's children in the order in which they were added.
SELECT json_group_array(json_array(queue, id, name, outcome, value)) FROM (
    SELECT children.* FROM children
    JOIN jobs ON jobs.key = children.parent
    JOIN queues ON queues.key = jobs.queue
    WHERE queues.name = ?1 AND jobs.id = ?2 AND (?3 IS NULL OR children.outcome = ?3)
    ORDER BY children.key
    LIMIT ?4 OFFSET ?5
);

-- read.child_counts: How many children of a job there are of each outcome.
SELECT
    total(outcome = 'pending'), total(outcome = 'completed'), total(outcome = 'failed'),
    total(outcome = 'ignored')
FROM children
JOIN jobs ON jobs.key = children.parent
JOIN queues ON queues.key = jobs.queue
WHERE queues.name = ?1 AND jobs.id = ?2;

-- read.logs: A page of a job's log, oldest line first, with the number of lines.
SELECT
    (
        SELECT json_group_array(text) FROM (
            SELECT text FROM logs WHERE logs.job = jobs.key ORDER BY line LIMIT ?3 OFFSET ?4
        )
    ),
    (SELECT count(*) FROM logs WHERE logs.job = jobs.key)
FROM jobs
JOIN queues ON queues.key = jobs.queue
WHERE queues.name = ?1 AND jobs.id = ?2;

-- read.logs_last: The same, newest line first.
SELECT
    (
        SELECT json_group_array(text) FROM (
            SELECT text FROM logs WHERE logs.job = jobs.key ORDER BY line DESC LIMIT ?3 OFFSET ?4
        )
    ),
    (SELECT count(*) FROM logs WHERE logs.job = jobs.key)
FROM jobs
JOIN queues ON queues.key = jobs.queue
WHERE queues.name = ?1 AND jobs.id = ?2;

-- read.metrics: Finished jobs a minute, oldest first.
SELECT json_group_array(json_array(minute * 60000, count)) FROM (
    SELECT minute, count FROM metrics
    WHERE
        queue = (SELECT key FROM queues WHERE name = ?1) AND kind = ?2
        AND (minute + 1) * 60000 > ?3
    ORDER BY minute
);

-- read.ever: How many jobs of a queue ever completed and failed.
SELECT ever_completed, ever_failed FROM queues WHERE name = ?1;

-- read.workers: Workers that announced themselves, of a queue or all, and their process's lock.
SELECT json_group_array(json_array(
    workers.id, workers.name, workers.host, workers.pid, json(workers.queues),
    workers.concurrency, workers.started_ms, workers.seen_ms, workers.active, workers.rate,
    processes.lock, json(workers.declares), workers.vitals
))
FROM workers
JOIN processes ON processes.key = workers.process
WHERE ?1 IS NULL OR EXISTS (SELECT 1 FROM json_each(workers.queues) WHERE value = ?1);

-- read.events: Runs of events that end after a number.
SELECT json_group_array(json_array(first, at_ms, json(body))) FROM (
    SELECT first, at_ms, body FROM events
    WHERE queue = (SELECT key FROM queues WHERE name = ?1) AND last > ?2
    ORDER BY last
    LIMIT min(?3, 250)
);

-- read.last_event: The number of a queue's newest event.
SELECT events FROM queues WHERE name = ?1;

-- read.peek: Whether a queue may have a job to claim, and when that may change.
SELECT json_group_array(json_array(
    queues.name,
    CASE WHEN queues.paused THEN ifnull(queues.pause_until, 0) END,
    EXISTS (
        SELECT 1 FROM jobs WHERE queue = queues.key AND state IN ('waiting', 'prioritized')
    ),
    (SELECT min(due_ms) FROM jobs WHERE queue = queues.key AND state = 'delayed'),
    CASE
        WHEN queues.concurrency IS NULL THEN 0
        ELSE (SELECT count(*) FROM jobs WHERE queue = queues.key AND state = 'active')
            >= queues.concurrency
    END,
    max(
        queues.limited_until,
        CASE
            WHEN queues.rate_max IS NOT NULL AND queues.window_used >= queues.rate_max
                THEN queues.window_end
            ELSE 0
        END
    )
))
FROM queues
WHERE queues.name IN (SELECT value FROM json_each(?1));

