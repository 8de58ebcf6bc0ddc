-- The number of the newest event of any queue that was obliterated: no queue begins below it.
CREATE TABLE obliterated (
    key INTEGER PRIMARY KEY CHECK (key = 1),
    events INTEGER NOT NULL
) STRICT;
