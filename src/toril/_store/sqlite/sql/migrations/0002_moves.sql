-- What a queue took last from another store, so that a move which is cut off can go on.
CREATE TABLE moves (
    queue INTEGER NOT NULL REFERENCES queues (key) ON DELETE CASCADE,
    origin TEXT NOT NULL,
    receipt TEXT NOT NULL,
    PRIMARY KEY (queue, origin)
) STRICT, WITHOUT ROWID;
