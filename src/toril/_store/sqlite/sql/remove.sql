-- remove.tree: A job and, if the third binding says so, all that hang below it, parents first.
WITH RECURSIVE tree (key, depth) AS (
    SELECT key, 0 FROM jobs WHERE queue = ?1 AND id = ?2
    UNION
    SELECT jobs.key, tree.depth + 1
    FROM tree
    JOIN children ON children.parent = tree.key
    JOIN queues ON queues.name = children.queue
    JOIN jobs ON jobs.queue = queues.key AND jobs.id = children.id
    -- A later job may have been given the id of a child that is gone.
    WHERE ?3 AND jobs.parent = tree.key
)
SELECT json_group_array(json_array(
    jobs.key, queues.name, jobs.id, jobs.state, jobs.parent, jobs.dedup,
    EXISTS (
        SELECT 1 FROM schedules WHERE schedules.queue = jobs.queue AND schedules.job_id = jobs.id
    )
))
FROM (SELECT key, max(depth) AS depth FROM tree GROUP BY key ORDER BY 2, 1) AS hanging
JOIN jobs ON jobs.key = hanging.key
JOIN queues ON queues.key = jobs.queue;

-- remove.in_state: Jobs of a queue in a state, old enough, that no schedule waits for. Each part
-- reads the index of its state from the front, so that a long queue costs no more than a short one.
SELECT json_group_array(json_array(key, id, parent, dedup))
FROM (
    SELECT key, id, parent, dedup FROM jobs
    WHERE key IN (
        SELECT * FROM (
            SELECT key FROM jobs
            WHERE ?2 IN ('waiting', 'prioritized')
                AND queue = ?1 AND state IN ('waiting', 'prioritized')
                AND lane BETWEEN (?2 = 'prioritized') AND iif(?2 = 'waiting', 0, 9e15)
                AND created_ms <= ?3 AND NOT EXISTS (
                    SELECT 1 FROM schedules WHERE queue = ?1 AND job_id = jobs.id
                )
            ORDER BY lane, position
            LIMIT ?4
        )
        UNION ALL
        SELECT * FROM (
            SELECT key FROM jobs
            WHERE ?2 = 'delayed' AND queue = ?1 AND state = 'delayed'
                AND created_ms <= ?3 AND NOT EXISTS (
                    SELECT 1 FROM schedules WHERE queue = ?1 AND job_id = jobs.id
                )
            ORDER BY due_ms, position
            LIMIT ?4
        )
        UNION ALL
        SELECT * FROM (
            SELECT key FROM jobs
            WHERE ?2 = 'waiting-children' AND queue = ?1 AND state = 'waiting-children'
                AND created_ms <= ?3 AND NOT EXISTS (
                    SELECT 1 FROM schedules WHERE queue = ?1 AND job_id = jobs.id
                )
            ORDER BY created_ms
            LIMIT ?4
        )
        UNION ALL
        SELECT * FROM (
            SELECT key FROM jobs
            WHERE ?2 IN ('completed', 'failed')
                AND queue = ?1 AND state = ?2 AND state IN ('completed', 'failed')
                AND finished_ms <= ?3 AND NOT EXISTS (
                    SELECT 1 FROM schedules WHERE queue = ?1 AND job_id = jobs.id
                )
            ORDER BY finished_ms, position
            LIMIT ?4
        )
    )
    ORDER BY coalesce(finished_ms, created_ms), position
);

-- remove.any: Jobs of a queue, whatever they are: key, id, parent.
SELECT json_group_array(json_array(key, id, parent))
FROM (SELECT key, id, parent FROM jobs WHERE queue = ?1 LIMIT ?2);

-- remove.holding: Failed jobs that their parents still wait for: parent, queue, id.
SELECT json_group_array(json_array(jobs.parent, queues.name, jobs.id))
FROM json_each(?1) AS gone
JOIN jobs ON jobs.key = gone.value
JOIN queues ON queues.key = jobs.queue
WHERE jobs.parent IS NOT NULL AND jobs.state = 'failed';

-- remove.states: How many of these jobs are in which state of which queue.
SELECT json_group_array(json_array(name, state, jobs))
FROM (
    SELECT queues.name, jobs.state, count(*) AS jobs
    FROM jobs
    JOIN queues ON queues.key = jobs.queue
    WHERE jobs.key IN (SELECT value FROM json_each(?1))
    GROUP BY queues.name, jobs.state
);

-- remove.oldest: Delete the finished jobs of a queue that ended first, and what hangs on them.
DELETE FROM jobs WHERE key IN (
    SELECT key FROM jobs
    WHERE queue = ?1 AND state = ?2 AND state IN ('completed', 'failed')
    ORDER BY finished_ms, position
    LIMIT ?3
);

-- remove.delete: Delete jobs and what hangs on them.
DELETE FROM jobs WHERE key IN (SELECT value FROM json_each(?1));

-- remove.free_dedup: Give back the dedup keys of jobs: queue, key, id.
DELETE FROM dedup
WHERE (queue, word, id) IN (
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1)
);

-- remove.left: Whether a queue has a job left.
SELECT EXISTS (SELECT 1 FROM jobs WHERE queue = ?1);
