-- queue.load: One queue by its name, with when its next delayed job is due.
SELECT
    key, name, ids, positions, events, window_used, window_max, window_end, limited_until,
    ever_completed, ever_failed, paused, concurrency, rate_max, rate_ms, keep_completed,
    keep_failed, dead_letter, events_limit, declared, max_waiting, pause, pause_since,
    pause_until,
    (SELECT min(due_ms) FROM jobs WHERE queue = queues.key AND state = 'delayed'),
    counted, waiting, prioritized, delayed, active, waiting_children, completed, failed
FROM queues
WHERE name = ?1;

-- queue.count: Count the jobs of a queue by state.
SELECT waiting, prioritized, delayed, active, waiting_children, completed, failed
FROM job_counts
WHERE queue = ?1;

-- queue.miscounted: The queues for which the numbers of jobs that are kept are not those of its rows.
SELECT json_group_array(queues.name)
FROM queues
JOIN job_counts ON job_counts.queue = queues.key
WHERE
    (
        queues.waiting, queues.prioritized, queues.delayed, queues.active,
        queues.waiting_children, queues.completed, queues.failed
    ) != (
        job_counts.waiting, job_counts.prioritized, job_counts.delayed, job_counts.active,
        job_counts.waiting_children, job_counts.completed, job_counts.failed
    );

-- queue.create: A new queue; its events are numbered from the time on, or from where those of the
-- queues ended that were obliterated, so that who follows one hears it begin anew.
INSERT INTO queues (name, events, counted)
SELECT ?1, newest, newest
FROM (SELECT max(?2, ifnull((SELECT events FROM obliterated), 0)) AS newest);

-- queue.clash: A queue whose name is a leading segment of this one, or the other way round.
-- ?2 has the leading segments; ';' comes right after ':'.
SELECT name FROM queues WHERE name IN (SELECT value FROM json_each(?2))
UNION ALL
SELECT name FROM queues WHERE name > ?1 || ':' AND name < ?1 || ';'
LIMIT 1;

-- queue.save: The counters of a queue, and its jobs by state as of the newest event.
UPDATE queues SET
    ids = ?2, positions = ?3, events = ?4, counted = ?4, window_used = ?5, window_max = ?6,
    window_end = ?7, limited_until = ?8, ever_completed = ?9, ever_failed = ?10, waiting = ?11,
    prioritized = ?12, delayed = ?13, active = ?14, waiting_children = ?15, completed = ?16,
    failed = ?17
WHERE key = ?1;

-- queue.configure: What a transaction changed in the settings of a queue.
UPDATE queues SET
    paused = ?2, concurrency = ?3, rate_max = ?4, rate_ms = ?5, keep_completed = ?6,
    keep_failed = ?7, dead_letter = ?8, events_limit = ?9, declared = ?10, max_waiting = ?11,
    pause = ?12, pause_since = ?13, pause_until = ?14
WHERE key = ?1;

-- queue.emit: A run of events, numbered first to last.
INSERT INTO events (queue, last, first, at_ms, body) VALUES (?1, ?2, ?3, ?4, ?5);

-- queue.all: Every queue's name.
SELECT json_group_array(name) FROM (SELECT name FROM queues ORDER BY name);

-- queue.forget: Drop a queue with everything that hangs on it, when no job is left.
DELETE FROM queues
WHERE key = ?1 AND NOT EXISTS (SELECT 1 FROM jobs WHERE queue = ?1);

-- queue.outlive: Keep the number of its newest event, when it is the highest.
INSERT INTO obliterated (key, events) VALUES (1, ?1)
ON CONFLICT (key) DO UPDATE SET events = max(events, excluded.events);

-- queue.emitted: When a queue's newest event that is kept was emitted.
SELECT at_ms FROM events WHERE queue = ?1 ORDER BY last DESC LIMIT 1;

-- queue.trim_events: Drop runs of events that end before a number.
DELETE FROM events
WHERE queue = ?1 AND last IN (
    SELECT last FROM events WHERE queue = ?1 AND last <= ?2 ORDER BY last LIMIT ?3
);

-- queue.trim_metrics: Drop minutes that are too old.
DELETE FROM metrics
WHERE queue = ?1 AND kind = ?2 AND minute < ?3;

-- queue.count_minute: Count finished jobs in the minutes they finished in.
INSERT INTO metrics (queue, kind, minute, count) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (queue, kind, minute) DO UPDATE SET count = count + excluded.count;

-- queue.names_of: The names of queues, by their keys.
SELECT json_group_array(name) FROM queues WHERE key IN (SELECT value FROM json_each(?1));

-- queue.resumable: The names of paused queues whose pause is over.
SELECT json_group_array(json_array(name)) FROM queues WHERE paused AND pause_until <= ?1;
