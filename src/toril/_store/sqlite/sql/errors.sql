-- errors.group: A group of errors as it is stored, as bytes, which may be no UTF-8.
SELECT CAST(body AS BLOB) FROM errors WHERE queue = ?1 AND fingerprint = ?2;

-- errors.put: Store a group of errors.
INSERT INTO errors (queue, fingerprint, last_ms, body) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (queue, fingerprint) DO UPDATE SET
    last_ms = excluded.last_ms, body = excluded.body;

-- errors.bound: Delete the groups of a queue that were not seen for longest, above a number.
DELETE FROM errors
WHERE queue = ?1 AND fingerprint IN (
    SELECT fingerprint FROM errors WHERE queue = ?1 ORDER BY last_ms DESC LIMIT -1 OFFSET ?2
);

-- errors.list: Groups of a queue that were seen since a time, the last ones first.
SELECT json_group_array(json_array(fingerprint, body)) FROM (
    SELECT fingerprint, body FROM errors
    WHERE queue = (SELECT key FROM queues WHERE name = ?1) AND last_ms >= ?2
    ORDER BY last_ms DESC
    LIMIT ?3
);

-- errors.jobs: A page of the jobs of a group, the last to fail first; of some states, or any.
SELECT json_group_array(id) FROM (
    SELECT id FROM jobs
    WHERE
        queue = (SELECT key FROM queues WHERE name = ?1)
        AND fingerprint = ?2 AND fingerprint IS NOT NULL
        AND (?3 = '[]' OR state IN (SELECT value FROM json_each(?3)))
    ORDER BY finished_ms DESC, key DESC
    LIMIT ?4 OFFSET ?5
);
