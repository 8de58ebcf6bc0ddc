-- queue.load: One queue by its name, with when its next delayed job is due.
SELECT
    key, name, ids, positions, events, paused, concurrency, rate_max, rate_ms, window_used,
    window_max, window_end, limited_until, ever_completed, ever_failed, keep_completed, keep_failed,
    dead_letter, events_limit, declared, max_waiting,
    (SELECT min(due_ms) FROM jobs WHERE queue = queues.key AND state = 'delayed')
FROM queues
WHERE name = ?1;

-- queue.create: A new queue; its events are numbered from the time on, or from where those of the
-- queues ended that were obliterated, so that who follows one hears it begin anew.
INSERT INTO queues (name, events)
VALUES (?1, max(?2, ifnull((SELECT events FROM obliterated), 0)));

-- queue.waiting: How many jobs of a queue wait to run; counting ends at a number.
SELECT count(*) FROM (
    SELECT 1 FROM jobs WHERE queue = ?1 AND state IN ('waiting', 'prioritized') LIMIT ?2
);

-- queue.clash: A queue whose name is a leading segment of this one, or the other way round.
-- ?2 has the leading segments; ';' comes right after ':'.
SELECT name FROM queues WHERE name IN (SELECT value FROM json_each(?2))
UNION ALL
SELECT name FROM queues WHERE name > ?1 || ':' AND name < ?1 || ';'
LIMIT 1;

-- queue.save: What a transaction changed in a queue.
UPDATE queues SET
    ids = ?2, positions = ?3, events = ?4, paused = ?5, concurrency = ?6, rate_max = ?7,
    rate_ms = ?8, window_used = ?9, window_max = ?10, window_end = ?11, limited_until = ?12,
    ever_completed = ?13, ever_failed = ?14, keep_completed = ?15, keep_failed = ?16,
    dead_letter = ?17, events_limit = ?18, declared = ?19, max_waiting = ?20
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
