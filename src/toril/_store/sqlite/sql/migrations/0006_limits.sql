-- When a job that waits may be over although nobody claims it; null: never.
ALTER TABLE jobs ADD COLUMN limit_ms INTEGER;

UPDATE jobs SET limit_ms = created_ms + coalesce(
    min(opts ->> '$.toril.deadline', opts ->> '$.toril.expires'),
    opts ->> '$.toril.deadline',
    opts ->> '$.toril.expires'
)
WHERE schedule IS NULL AND opts LIKE '%"toril"%' AND json_valid(opts);

CREATE INDEX jobs_limited ON jobs (limit_ms)
WHERE limit_ms IS NOT NULL
    AND state IN ('waiting', 'prioritized', 'delayed', 'waiting-children');
