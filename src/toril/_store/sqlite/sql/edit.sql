-- edit.place: Make jobs ready or place them anew: key, state, lane, position.
UPDATE jobs SET
    state = moved.value ->> 1, lane = moved.value ->> 2, position = moved.value ->> 3,
    delay_ms = CASE state WHEN 'delayed' THEN 0 ELSE delay_ms END,
    due_ms = NULL, finished_ms = NULL, expires_ms = NULL, token = NULL, lock_until = NULL,
    owner = NULL
FROM json_each(?1) AS moved
WHERE jobs.key = moved.value ->> 0;

-- edit.delay: Let a job wait until a time: key, due, delay, position.
UPDATE jobs SET
    state = 'delayed', lane = 0, due_ms = ?2, delay_ms = ?3, position = ?4, token = NULL,
    lock_until = NULL, owner = NULL
WHERE key = ?1;

-- edit.load: A job that is to be changed.
SELECT key, state, token, priority, parent, parent_queue, dedup
FROM jobs
WHERE queue = ?1 AND id = ?2;

-- edit.data: Change a job's data.
UPDATE jobs SET data = ?2 WHERE key = ?1;

-- edit.progress: Note a job's progress.
UPDATE jobs SET progress = ?2 WHERE key = ?1;

-- edit.cancel: Note that somebody wants a job to end: why, and the reason with which it then fails.
UPDATE jobs SET cancelled = ?2, deferred = ?3 WHERE key = ?1;

-- edit.scheduled: Whether a job is the next run of a schedule.
SELECT EXISTS (SELECT 1 FROM schedules WHERE queue = ?1 AND job_id = ?2);

-- edit.alone: Note that this run of a job is by itself in its worker.
UPDATE jobs SET alone = iif(?2, runs, 0) WHERE key = ?1;

-- edit.priority: Change a job's priority wherever it is.
UPDATE jobs SET priority = ?2 WHERE key = ?1;

-- edit.orphan: Take a job's parent from it.
UPDATE jobs SET parent = NULL, parent_queue = NULL, parent_id = NULL, policy = NULL WHERE key = ?1;

-- edit.forget_dedup: Take a job's dedup key from it.
UPDATE jobs SET dedup = NULL WHERE key = ?1;

-- edit.lines: The number of the last line of a job's log.
SELECT coalesce(max(line), 0), count(*) FROM logs WHERE job = ?1;

-- edit.log: Append lines to a job's log: number, text.
INSERT INTO logs (job, line, text) SELECT ?1, value ->> 0, value ->> 1 FROM json_each(?2);

-- edit.cut_log: Keep the newest lines of a job's log.
DELETE FROM logs WHERE job = ?1 AND line <= ?2;

-- edit.select: Jobs of a queue that are asked for by id: id, key, state, priority, parent, opts.
SELECT json_group_array(json_array(
    asked.value, jobs.key, jobs.state, jobs.priority, jobs.parent, jobs.opts
))
FROM json_each(?2) AS asked
LEFT JOIN jobs ON jobs.queue = ?1 AND jobs.id = asked.value;

-- edit.delayed: Delayed jobs of a queue in the order in which they are due.
SELECT json_group_array(json_array(id, key, state, priority, parent, opts))
FROM (
    SELECT * FROM jobs
    WHERE queue = ?1 AND state = 'delayed' AND created_ms <= ?2
    ORDER BY due_ms, position
    LIMIT ?3
);

-- edit.finished: Finished jobs of a queue, oldest first.
SELECT json_group_array(json_array(id, key, state, priority, parent, opts))
FROM (
    SELECT * FROM jobs
    WHERE queue = ?1 AND state = ?4 AND state IN ('completed', 'failed') AND finished_ms <= ?2
    ORDER BY finished_ms, position
    LIMIT ?3
);

-- edit.again: Forget how jobs ended, and their attempts if the second binding says so.
UPDATE jobs SET
    started_ms = NULL, result = NULL, reason = NULL, settled_by = NULL, deferred = NULL,
    cancelled = NULL,
    attempts_made = CASE ?2 WHEN 1 THEN 0 ELSE attempts_made END,
    stalls = CASE ?2 WHEN 1 THEN 0 ELSE stalls END
WHERE key IN (SELECT value FROM json_each(?1));
