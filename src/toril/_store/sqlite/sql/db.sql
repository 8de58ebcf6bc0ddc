-- db.begin: Start a transaction that may write, and wait for the lock now rather than later.
BEGIN IMMEDIATE;

-- db.commit: Make it last.
COMMIT;

-- db.rollback: Undo it.
ROLLBACK;

-- db.schema: All tables, indexes, triggers and views, and how they were made;
-- as bytes, which may be no UTF-8.
SELECT CAST(json_group_array(json_array(type, name, tbl_name, sql)) AS BLOB) FROM sqlite_schema;

-- db.tables: How many tables, indexes and triggers there are.
SELECT count(*) FROM sqlite_schema;
