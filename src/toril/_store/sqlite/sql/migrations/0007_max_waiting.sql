-- How many jobs of a queue may wait to run before new ones are refused.
ALTER TABLE queues ADD COLUMN max_waiting INTEGER CHECK (max_waiting > 0);
