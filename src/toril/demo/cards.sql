-- name: create
-- The table of an application: toril knows nothing of it.
CREATE TABLE IF NOT EXISTS card (
    id INTEGER PRIMARY KEY,
    term TEXT NOT NULL,
    original TEXT NOT NULL,
    bytes_before INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'uploaded', 'refused', 'failed')),
    bytes_after INTEGER,
    image TEXT,
    reason TEXT,
    settled_at REAL
)

-- name: add
INSERT INTO card (term, original, bytes_before) VALUES (?, ?, ?)

-- name: list
SELECT id, term, original, bytes_before, state, bytes_after, image, reason, settled_at
FROM card
ORDER BY id

-- name: uploaded
-- Run twice it changes nothing: a job may run twice.
UPDATE card
SET state = 'uploaded', image = :image, bytes_after = :bytes_after, reason = NULL,
    settled_at = coalesce(settled_at, :now)
WHERE id = :id

-- name: refused
-- A refusal says more than a failure that came before it.
UPDATE card
SET state = 'refused', reason = :reason, settled_at = coalesce(settled_at, :now)
WHERE id = :id AND state IN ('new', 'failed')

-- name: failed
-- The first failure is the cause of the others.
UPDATE card
SET state = 'failed', reason = :reason, settled_at = :now
WHERE id = :id AND state = 'new'
