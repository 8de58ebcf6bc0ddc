-- db.begin: Start a transaction that may write, and wait for the lock now rather than later.
BEGIN IMMEDIATE;

-- db.commit: Make it last.
COMMIT;

-- db.rollback: Undo it.
ROLLBACK;

-- db.tables: How many tables, indexes and triggers there are.
SELECT count(*) FROM sqlite_schema;
