-- Notes of the whole store, by kind; one with an id of its own is replaced when it is noted again.
CREATE TABLE notes (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    id TEXT,
    at_ms INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (kind, id)
) STRICT;

CREATE INDEX notes_by_kind ON notes (kind, key);
