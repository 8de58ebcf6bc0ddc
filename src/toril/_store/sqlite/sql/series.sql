-- series.keep: Keep what a transaction counted in a queue; return how many samples there are.
INSERT INTO samples (queue, at_ms, body) VALUES (?1, ?2, ?3) RETURNING key;

-- series.samples: All samples that are not added up yet: queue, time, counts. As bytes, like all that
-- is read to be added to: text that is not UTF-8 must not fail what others store.
SELECT CAST(json_group_array(json_array(queue, at_ms, body)) AS BLOB)
FROM (SELECT * FROM samples ORDER BY key);

-- series.folded: Delete the samples that were added up.
DELETE FROM samples;

-- series.bucket: What a bucket of a queue or a task holds.
SELECT CAST(body AS BLOB) FROM series WHERE queue = ?1 AND span = ?2 AND number = ?3 AND task = ?4;

-- series.put: Store buckets: queue, span, number, task, counts.
INSERT INTO series (queue, span, number, task, body)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
FROM json_each(?1)
WHERE true
ON CONFLICT (queue, span, number, task) DO UPDATE SET body = excluded.body;

-- series.forget: Delete buckets before a number.
DELETE FROM series WHERE queue = ?1 AND span = ?2 AND number < ?3;

-- series.tasks: The names of jobs that a queue is counted by.
SELECT CAST(names AS BLOB) FROM tasks WHERE queue = ?1;

-- series.tasks_of: The same, of a queue by its name.
SELECT names FROM tasks WHERE queue = (SELECT key FROM queues WHERE name = ?1);

-- series.put_tasks: Store the names of jobs that a queue is counted by.
INSERT INTO tasks (queue, names) VALUES (?1, ?2)
ON CONFLICT (queue) DO UPDATE SET names = excluded.names;

-- series.beside: All samples with the names of their queues.
SELECT json_group_array(json_array(name, at_ms, body)) FROM (
    SELECT queues.name, samples.at_ms, samples.body
    FROM samples
    JOIN queues ON queues.key = samples.queue
    ORDER BY samples.key
);

-- series.buckets: The buckets of a queue, or of a task, with these numbers.
SELECT json_group_array(json_array(number, body)) FROM (
    SELECT number, body FROM series
    WHERE
        queue = (SELECT key FROM queues WHERE name = ?1)
        AND span = ?2 AND number >= ?3 AND number < ?4 AND task = ?5
    ORDER BY number
);
