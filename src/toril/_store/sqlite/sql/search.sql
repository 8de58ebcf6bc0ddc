-- search.put: Let jobs be found by fields: queue, id, field, value.
INSERT INTO indexed (queue, field, value, job)
SELECT jobs.queue, new.value ->> 2, new.value ->> 3, jobs.key
FROM json_each(?1) AS new
JOIN jobs ON jobs.queue = new.value ->> 0 AND jobs.id = new.value ->> 1
WHERE true
ON CONFLICT DO NOTHING;

-- search.find: Jobs with this field, the newest first, of so many entries before a key: key, id, and
-- whether it is in one of these states and has the other fields as well.
SELECT json_group_array(json_array(
    entry.job, jobs.id,
    (?6 = '[]' OR jobs.state IN (SELECT value FROM json_each(?6)))
    AND NOT EXISTS (
        SELECT 1 FROM json_each(?7) AS other
        WHERE NOT EXISTS (
            SELECT 1 FROM indexed
            WHERE
                indexed.queue = entry.queue AND indexed.field = other.value ->> 0
                AND indexed.value = other.value ->> 1 AND indexed.job = entry.job
        )
    )
))
FROM (
    SELECT queue, job FROM indexed
    WHERE
        queue = (SELECT key FROM queues WHERE name = ?1)
        AND field = ?2 AND value = ?3 AND job < ?4
    ORDER BY job DESC
    LIMIT ?5
) AS entry
JOIN jobs ON jobs.key = entry.job;

-- search.fields: The names of the fields by which jobs of a queue are found.
WITH RECURSIVE names (field) AS (
    SELECT min(field) FROM indexed WHERE queue = (SELECT key FROM queues WHERE name = ?1)
    UNION ALL
    SELECT (
        SELECT min(indexed.field) FROM indexed
        WHERE
            indexed.queue = (SELECT key FROM queues WHERE name = ?1)
            AND indexed.field > names.field
    )
    FROM names WHERE names.field IS NOT NULL
    LIMIT 100
)
SELECT json_group_array(field) FROM names WHERE field IS NOT NULL;
