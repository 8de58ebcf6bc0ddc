-- finish.look_up: The jobs that decisions are about, as they stand; asked: key, queue, id, token.
SELECT json_group_array(json_array(
    asked.key, jobs.key, jobs.state, jobs.token, jobs.settled_by, jobs.priority, jobs.opts,
    jobs.parent, jobs.policy, jobs.family, jobs.dedup, jobs.stack, jobs.runs, jobs.worker,
    jobs.started_ms, jobs.name, jobs.attempts_made, jobs.letter, jobs.cancelled,
    jobs.created_ms
))
FROM json_each(?1) AS asked
LEFT JOIN jobs ON jobs.key = coalesce(
    asked.value ->> 0,
    (
        SELECT found.key FROM jobs AS found
        WHERE
            found.queue = (SELECT queues.key FROM queues WHERE queues.name = asked.value ->> 1)
            AND found.id = asked.value ->> 2
    )
) AND jobs.id = asked.value ->> 2;

-- finish.open_children: How many children of a job are pending, and how many have failed.
SELECT total(outcome = 'pending'), total(outcome = 'failed')
FROM children
WHERE parent = ?1 AND outcome IN ('pending', 'failed');

-- finish.continued: Whether a child of a job has failed that lets it go on at once; one that is not
-- kept may have been such a child.
SELECT EXISTS (
    SELECT 1 FROM children
    LEFT JOIN queues ON queues.name = children.queue
    LEFT JOIN jobs
        ON jobs.queue = queues.key AND jobs.id = children.id AND jobs.parent = children.parent
    WHERE
        children.parent = ?1 AND children.outcome = 'ignored'
        AND (jobs.key IS NULL OR jobs.policy = 'continue')
);

-- finish.complete: Store results: key, position, result, expiry, token, slot; the time is first.
UPDATE jobs SET
    state = 'completed', lane = 0, finished_ms = ?1, attempts_made = attempts_made + 1,
    position = done.value ->> 1, result = done.value ->> 2, expires_ms = done.value ->> 3,
    settled_by = done.value ->> 4, slot = done.value ->> 5, token = NULL, lock_until = NULL, owner = NULL, deferred = NULL,
    cancelled = NULL
FROM jsonb_each(?2) AS done
WHERE jobs.key = done.value ->> 0;

-- finish.complete_large: Store one large result: time, key, position, result, expiry, token, slot.
UPDATE jobs SET
    state = 'completed', lane = 0, finished_ms = ?1, attempts_made = attempts_made + 1,
    position = ?3, result = ?4, expires_ms = ?5, settled_by = ?6, slot = ?7, token = NULL, lock_until = NULL,
    owner = NULL, deferred = NULL, cancelled = NULL
WHERE key = ?2;

-- finish.fail: Store a final failure.
UPDATE jobs SET
    state = 'failed', lane = 0, finished_ms = ?2, position = ?3, attempts_made = attempts_made + ?7,
    reason = ?4, stack = coalesce(?5, stack), due_ms = NULL, expires_ms = ?6,
    slot = coalesce(?8, slot), fingerprint = coalesce(?9, fingerprint), settled_by = token, deferred = NULL, token = NULL,
    lock_until = NULL, owner = NULL
WHERE key = ?1;

-- finish.note: What a try leaves behind on a job that goes on: counted, unknown name, reason, stack, slot,
-- fingerprint.
UPDATE jobs SET
    attempts_made = attempts_made + ?2, unknown = unknown + ?3, reason = coalesce(?4, reason),
    stack = coalesce(?5, stack), slot = coalesce(?6, slot),
    fingerprint = coalesce(?7, fingerprint), settled_by = token
WHERE key = ?1;

-- finish.crashed: Keep how often a job has crashed.
UPDATE jobs SET stalls = ?2 WHERE key = ?1;

-- finish.await: Let an active job wait for its children.
UPDATE jobs SET
    state = 'waiting-children', lane = 0, token = NULL, lock_until = NULL, owner = NULL,
    settled_by = token
WHERE key = ?1;

-- finish.count_run: Count a start that was none, to give its end a number.
UPDATE jobs SET runs = runs + 1 WHERE key = ?1;

-- finish.tries: Record tries: job, run, worker, started, ended, ending, reason, slot, fingerprint.
INSERT INTO tries (job, run, worker, started_ms, ended_ms, ending, reason, slot, fingerprint)
SELECT
    value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
    value ->> 7, value ->> 8
FROM json_each(?1)
WHERE true
ON CONFLICT (job, run) DO NOTHING;

-- finish.old_tries: Keep the newest tries of a job only.
DELETE FROM tries WHERE job = ?1 AND run <= ?2;

-- finish.child_completed: Hand results to parents: parent, queue, id, result.
UPDATE children SET outcome = 'completed', value = done.value ->> 3
FROM json_each(?1) AS done
WHERE
    children.parent = done.value ->> 0 AND children.queue = done.value ->> 1
    AND children.id = done.value ->> 2 AND children.outcome = 'pending';

-- finish.child_settled: Settle one child with its parent.
UPDATE children SET outcome = ?4, value = ?5
WHERE parent = ?1 AND queue = ?2 AND id = ?3 AND outcome = 'pending';

-- finish.child_dropped: Forget a child whose failure does not matter.
DELETE FROM children WHERE parent = ?1 AND queue = ?2 AND id = ?3 AND outcome = 'pending';

-- finish.child_unlinked: Forget children that go away while their parents wait: parent, queue, id.
DELETE FROM children
WHERE outcome = 'pending' AND key IN (
    SELECT linked.key
    FROM json_each(?1) AS gone
    JOIN children AS linked ON
        linked.parent = gone.value ->> 0 AND linked.queue = gone.value ->> 1
        AND linked.id = gone.value ->> 2
);

-- finish.child_pending: Wait again for children that are tried again: parent, queue, id.
UPDATE children SET outcome = 'pending', value = NULL
FROM json_each(?1) AS again
WHERE
    children.parent = again.value ->> 0 AND children.queue = again.value ->> 1
    AND children.id = again.value ->> 2;

-- finish.settled_parents: Of these jobs, those that wait for children and have none pending.
-- A moment that was named is a delay from now; one that is past is none.
SELECT json_group_array(json_array(
    jobs.key, queues.name, jobs.id, jobs.priority,
    coalesce(max(iif(json_valid(jobs.opts), jobs.opts ->> '$.toril.at', NULL) - ?2, 0), jobs.delay_ms)
))
FROM json_each(?1) AS asked
JOIN jobs ON jobs.key = asked.value
JOIN queues ON queues.key = jobs.queue
WHERE
    jobs.state = 'waiting-children'
    AND NOT EXISTS (
        SELECT 1 FROM children WHERE parent = jobs.key AND outcome = 'pending'
    );

-- finish.parent: A parent as its children's failure has to know it.
SELECT
    jobs.key, queues.name, jobs.id, jobs.priority,
    coalesce(max(iif(json_valid(jobs.opts), jobs.opts ->> '$.toril.at', NULL) - ?2, 0), jobs.delay_ms),
    jobs.state
FROM jobs
JOIN queues ON queues.key = jobs.queue
WHERE jobs.key = ?1;

-- finish.waits: Whether a job waits for its children.
SELECT EXISTS (
    SELECT 1 FROM jobs
    JOIN queues ON queues.key = jobs.queue
    WHERE queues.name = ?1 AND jobs.id = ?2 AND jobs.state = 'waiting-children'
);

-- finish.defer_failure: Let a job fail with a reason when it is claimed next.
UPDATE jobs SET deferred = ?2 WHERE key = ?1 AND state NOT IN ('completed', 'failed');

-- finish.dedup_row: What hangs on a dedup key that a job holds.
SELECT expires_ms, next FROM dedup WHERE queue = ?1 AND word = ?2 AND id = ?3;

-- finish.dedup_free: Give a dedup key back, if a job holds it.
DELETE FROM dedup WHERE queue = ?1 AND word = ?2 AND id = ?3;

-- finish.letters: Dead letters that nobody is reading: key, queue, id, state.
SELECT json_group_array(json_array(jobs.key, queues.name, jobs.id, jobs.state))
FROM json_each(?1) AS asked
JOIN jobs ON jobs.key = asked.value
JOIN queues ON queues.key = jobs.queue
WHERE jobs.state != 'active';

-- finish.link_letter: Let a failed job know its dead letter.
UPDATE jobs SET letter = ?2 WHERE key = ?1;

-- finish.beyond: The oldest finished jobs, as many as the third binding says; those with options of
-- their own are left out when the last binding is true.
SELECT json_group_array(key) FROM (
    SELECT key FROM jobs
    WHERE queue = ?1 AND state = ?2 AND state IN ('completed', 'failed')
        AND (NOT ?4 OR expires_ms IS NULL)
    ORDER BY finished_ms, position
    LIMIT ?3
);

-- finish.too_old: Finished jobs without an age of their own that finished up to a time.
SELECT json_group_array(key) FROM (
    SELECT key FROM jobs
    WHERE queue = ?1 AND state = ?2 AND state IN ('completed', 'failed') AND finished_ms <= ?3
        AND expires_ms IS NULL
    ORDER BY finished_ms, position
    LIMIT ?4
);

-- finish.expired: Finished jobs whose own time is over.
SELECT json_group_array(key) FROM (
    SELECT key FROM jobs WHERE expires_ms IS NOT NULL AND expires_ms <= ?1
    ORDER BY expires_ms
    LIMIT ?2
);
