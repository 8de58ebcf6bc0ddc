-- schedule.get: One schedule.
SELECT
    queues.name, schedules.id, schedules.name, rule, data, opts, count, next_ms, job_id, owner,
    schedules.pause, schedules.pause_since
FROM schedules
JOIN queues ON queues.key = schedules.queue
WHERE queues.name = ?1 AND schedules.id = ?2;

-- schedule.list: Schedules of a queue or of all, the next to run first.
SELECT json_group_array(json_array(
    queue_name, id, name, rule, data, opts, count, next_ms, job_id, owner, pause, pause_since
))
FROM (
    SELECT queues.name AS queue_name, schedules.*
    FROM schedules
    JOIN queues ON queues.key = schedules.queue
    WHERE ?1 IS NULL OR queues.name = ?1
    ORDER BY schedules.next_ms IS NULL, schedules.next_ms, schedules.id
);

-- schedule.put: Store or replace a schedule; the count of its runs stays.
INSERT INTO schedules (
    queue, id, name, rule, data, opts, count, next_ms, job_id, owner, pause, pause_since
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
ON CONFLICT (queue, id) DO UPDATE SET
    name = excluded.name, rule = excluded.rule, data = excluded.data, opts = excluded.opts,
    count = excluded.count, next_ms = excluded.next_ms, job_id = excluded.job_id, owner = excluded.owner,
    pause = excluded.pause, pause_since = excluded.pause_since;

-- schedule.drop: Forget a schedule.
DELETE FROM schedules WHERE queue = ?1 AND id = ?2;

-- schedule.armed: The job of a schedule's next run, where it stands, how often it has started.
SELECT key, state, runs FROM jobs WHERE queue = ?1 AND id = ?2;
