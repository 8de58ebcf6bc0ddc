-- The fields by which jobs are found: values of their data that were declared, and tags.
CREATE TABLE indexed (
    queue INTEGER NOT NULL,
    field TEXT NOT NULL,
    value TEXT NOT NULL,
    job INTEGER NOT NULL REFERENCES jobs (key) ON DELETE CASCADE,
    PRIMARY KEY (queue, field, value, job)
) STRICT, WITHOUT ROWID;

CREATE INDEX indexed_jobs ON indexed (job);
