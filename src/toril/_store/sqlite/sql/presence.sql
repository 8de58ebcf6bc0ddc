-- presence.enter: Announce a process: host, pid, lock, bell, time. It may be known by its lock.
INSERT INTO processes (key, host, pid, lock, bell, started_ms)
VALUES ((SELECT max(key) FROM processes WHERE lock = ?3), ?1, ?2, ?3, ?4, ?5)
ON CONFLICT (key) DO UPDATE SET started_ms = excluded.started_ms
RETURNING key;

-- presence.leave: Forget a process, and its workers with it.
DELETE FROM processes WHERE key = ?1;

-- presence.bells: The locks and the doorbells of the other processes; as bytes, which may be no UTF-8.
SELECT CAST(json_group_array(json_array(lock, bell)) AS BLOB) FROM processes WHERE key != ?1;

-- presence.others: The other processes and their locks.
SELECT json_group_array(json_array(key, lock)) FROM processes WHERE key != ?1;

-- presence.lock: The lock of a process.
SELECT lock FROM processes WHERE key = ?1;

-- presence.owners: Who holds active jobs, but for this process.
SELECT json_group_array(DISTINCT owner) FROM jobs WHERE state = 'active' AND owner != ?1;

-- presence.worker: Announce a worker, or that it is still there.
INSERT INTO workers (
    id, process, name, host, pid, queues, concurrency, rate, active, started_ms, seen_ms,
    declares, vitals
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
ON CONFLICT (id) DO UPDATE SET
    queues = excluded.queues, concurrency = excluded.concurrency, rate = excluded.rate,
    active = excluded.active, seen_ms = excluded.seen_ms, declares = excluded.declares,
    vitals = excluded.vitals;

-- presence.worker_leave: Forget a worker.
DELETE FROM workers WHERE id = ?1;
