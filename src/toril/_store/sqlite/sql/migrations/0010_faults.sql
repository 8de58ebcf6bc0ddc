ALTER TABLE jobs ADD COLUMN slot INTEGER;

ALTER TABLE jobs ADD COLUMN fingerprint TEXT;

ALTER TABLE tries ADD COLUMN slot INTEGER;

ALTER TABLE tries ADD COLUMN fingerprint TEXT;

ALTER TABLE workers ADD COLUMN vitals TEXT;

CREATE INDEX jobs_blamed ON jobs (queue, fingerprint, finished_ms)
WHERE fingerprint IS NOT NULL;

-- Groups of failed attempts that have one cause: JSON.
CREATE TABLE errors (
    queue INTEGER NOT NULL REFERENCES queues (key) ON DELETE CASCADE,
    fingerprint TEXT NOT NULL,
    last_ms INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (queue, fingerprint)
) STRICT, WITHOUT ROWID;
