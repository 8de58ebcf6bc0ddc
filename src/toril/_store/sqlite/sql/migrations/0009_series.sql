-- What transactions counted in a queue, until it is added up in buckets: JSON, by task.
CREATE TABLE samples (
    key INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL REFERENCES queues (key) ON DELETE CASCADE,
    at_ms INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;

-- Counters of a queue (task '') and of its tasks by five minutes ('5'), hour ('h') and day ('d').
CREATE TABLE series (
    queue INTEGER NOT NULL REFERENCES queues (key) ON DELETE CASCADE,
    span TEXT NOT NULL,
    number INTEGER NOT NULL,
    task TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (queue, span, number, task)
) STRICT, WITHOUT ROWID;

-- The names of jobs that a queue is counted by, as a JSON array.
CREATE TABLE tasks (
    queue INTEGER PRIMARY KEY REFERENCES queues (key) ON DELETE CASCADE,
    names TEXT NOT NULL
) STRICT;
