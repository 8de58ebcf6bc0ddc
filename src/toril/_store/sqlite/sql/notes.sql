-- notes.put: Note something, or replace what was noted under this id; return its key.
INSERT INTO notes (kind, id, at_ms, body) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body
RETURNING key;

-- notes.replace: Note something under an id if this text, or if it is empty nothing, is noted there.
INSERT INTO notes (kind, id, at_ms, body)
SELECT ?1, ?2, ?3, ?4
WHERE ?5 = '' OR EXISTS (SELECT 1 FROM notes WHERE kind = ?1 AND id = ?2)
ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body WHERE body = ?5
RETURNING key;

-- notes.bound: Delete the oldest notes of a kind, above a number.
DELETE FROM notes
WHERE kind = ?1 AND key <= (
    SELECT key FROM notes WHERE kind = ?1 ORDER BY key DESC LIMIT 1 OFFSET ?2
);

-- notes.list: Notes of a kind before a key, the newest first: id, when it was made, text.
SELECT json_group_array(json_array(id, at_ms, body)) FROM (
    SELECT coalesce(id, CAST(key AS TEXT)) AS id, at_ms, body FROM notes
    WHERE kind = ?1 AND key < ?2
    ORDER BY key DESC
    LIMIT ?3
);
