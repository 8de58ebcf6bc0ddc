-- add.plain: Store waiting jobs of one queue that have nothing special: id, name, data, opts, position.
INSERT INTO jobs (queue, id, name, data, opts, state, position, created_ms)
SELECT
    ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, 'waiting', value ->> 4, ?2
FROM jsonb_each(?3);

-- add.plain_large: Store one such job; large data would be slow as a part of a JSON text.
INSERT INTO jobs (queue, id, name, data, opts, state, position, created_ms)
VALUES (?1, ?3, ?4, ?5, ?6, 'waiting', ?7, ?2);

-- add.placed: Store jobs of one queue that depend on no other: id, name, data, opts, state, lane,
-- position, priority, delay, created, due, limit. The second binding is for others.
INSERT INTO jobs (
    queue, id, name, data, opts, state, lane, position, priority, delay_ms, created_ms, due_ms,
    limit_ms
)
SELECT
    ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
    value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11
FROM jsonb_each(?3);

-- add.placed_large: Store one such job with large data.
INSERT INTO jobs (
    queue, id, name, data, opts, state, lane, position, priority, delay_ms, created_ms, due_ms,
    limit_ms
)
VALUES (?1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14);

-- add.full: Store jobs with every column that an add can set.
INSERT INTO jobs (
    key, queue, id, name, data, opts, state, lane, position, priority, delay_ms, created_ms,
    due_ms, parent, parent_queue, parent_id, policy, family, schedule, dedup,
    limit_ms
)
SELECT
    value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
    value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13,
    value ->> 14, value ->> 15, value ->> 16, value ->> 17, value ->> 18, value ->> 19,
    value ->> 20
FROM jsonb_each(?1);

-- add.full_large: Store one such job with large data.
INSERT INTO jobs (
    key, queue, id, name, data, opts, state, lane, position, priority, delay_ms, created_ms,
    due_ms, parent, parent_queue, parent_id, policy, family, schedule, dedup,
    limit_ms
)
VALUES (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21
);

-- add.last_key: The highest key that a job ever had.
SELECT seq FROM sqlite_sequence WHERE name = 'jobs';

-- add.known: Jobs that exist, of those asked for by queue and id, and whether their parents do.
SELECT json_group_array(json_array(
    asked.value ->> 0, jobs.id, jobs.key, jobs.state, jobs.parent,
    EXISTS (SELECT 1 FROM jobs AS above WHERE above.key = jobs.parent),
    jobs.name, jobs.result, jobs.reason
))
FROM json_each(?1) AS asked
JOIN queues ON queues.name = asked.value ->> 0
JOIN jobs ON jobs.queue = queues.key AND jobs.id = asked.value ->> 1;

-- add.parent: The queue and the id of a job's parent, if that exists.
SELECT above_queue.name, above.id
FROM jobs
JOIN queues ON queues.key = jobs.queue
JOIN jobs AS above ON above.key = jobs.parent
JOIN queues AS above_queue ON above_queue.key = above.queue
WHERE queues.name = ?1 AND jobs.id = ?2;

-- add.children: Note what parents wait for: parent, queue, id, name, outcome, value.
INSERT INTO children (parent, queue, id, name, outcome, value)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5
FROM json_each(?1)
WHERE true
ON CONFLICT (parent, queue, id) DO UPDATE SET
    name = excluded.name, outcome = excluded.outcome, value = excluded.value;

-- add.mark_family: Note that jobs have children.
UPDATE jobs SET family = 1
WHERE family = 0 AND key IN (SELECT value ->> 0 FROM json_each(?1));

-- add.adopt: Give an existing job a parent.
UPDATE jobs SET parent = ?2, parent_queue = ?3, parent_id = ?4, policy = ?5
WHERE key = ?1;

-- add.dedup_holder: Who holds a dedup key at a time, and where that job stands.
SELECT dedup.id, dedup.expires_ms, jobs.key, jobs.state, jobs.parent
FROM dedup
LEFT JOIN jobs ON jobs.queue = dedup.queue AND jobs.id = dedup.id
WHERE dedup.queue = ?1 AND dedup.word = ?2 AND (dedup.expires_ms IS NULL OR dedup.expires_ms > ?3);

-- add.dedup_hold: Let a job hold a dedup key, until a time or until it has finished.
INSERT INTO dedup (queue, word, id, expires_ms, next) VALUES (?1, ?2, ?3, ?4, NULL)
ON CONFLICT (queue, word) DO UPDATE SET
    id = excluded.id, expires_ms = excluded.expires_ms, next = NULL;

-- add.dedup_extend: Hold a dedup key until another time.
UPDATE dedup SET expires_ms = ?3 WHERE queue = ?1 AND word = ?2;

-- add.dedup_next: Keep the newest duplicate, to be added when the active job has finished.
UPDATE dedup SET next = ?3, expires_ms = NULL WHERE queue = ?1 AND word = ?2;
