-- How many jobs of each queue are in each state: whoever changes a state changes these numbers, once
-- a transaction, so that nothing needs to count jobs. They hold while `counted` is the number of the
-- newest event: a toril of an older version that has the file open goes on without them.
ALTER TABLE queues ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0 CHECK (waiting >= 0);
ALTER TABLE queues ADD COLUMN prioritized INTEGER NOT NULL DEFAULT 0 CHECK (prioritized >= 0);
ALTER TABLE queues ADD COLUMN delayed INTEGER NOT NULL DEFAULT 0 CHECK (delayed >= 0);
ALTER TABLE queues ADD COLUMN active INTEGER NOT NULL DEFAULT 0 CHECK (active >= 0);
ALTER TABLE queues
ADD COLUMN waiting_children INTEGER NOT NULL DEFAULT 0 CHECK (waiting_children >= 0);
ALTER TABLE queues ADD COLUMN counted INTEGER NOT NULL DEFAULT -1;

DROP TRIGGER tally_finish;
DROP TRIGGER tally_retry;
DROP TRIGGER tally_remove;

-- The same numbers, counted; each from the index of its state.
CREATE VIEW job_counts AS
SELECT
    queues.key AS queue,
    (
        SELECT count(*) FROM jobs
        WHERE queue = queues.key AND state IN ('waiting', 'prioritized') AND lane = 0
    ) AS waiting,
    (
        SELECT count(*) FROM jobs
        WHERE queue = queues.key AND state IN ('waiting', 'prioritized') AND lane > 0
    ) AS prioritized,
    (SELECT count(*) FROM jobs WHERE queue = queues.key AND state = 'delayed') AS delayed,
    (SELECT count(*) FROM jobs WHERE queue = queues.key AND state = 'active') AS active,
    (
        SELECT count(*) FROM jobs WHERE queue = queues.key AND state = 'waiting-children'
    ) AS waiting_children,
    (
        SELECT count(*) FROM jobs
        WHERE queue = queues.key AND state = 'completed' AND state IN ('completed', 'failed')
    ) AS completed,
    (
        SELECT count(*) FROM jobs
        WHERE queue = queues.key AND state = 'failed' AND state IN ('completed', 'failed')
    ) AS failed
FROM queues;

UPDATE queues SET
    (waiting, prioritized, delayed, active, waiting_children, completed, failed) = (
        SELECT waiting, prioritized, delayed, active, waiting_children, completed, failed
        FROM job_counts
        WHERE queue = queues.key
    ),
    counted = events;
