-- Who paused a queue and why, as JSON, since when, and when it resumes.
ALTER TABLE queues ADD COLUMN pause TEXT;
ALTER TABLE queues ADD COLUMN pause_since INTEGER;
ALTER TABLE queues ADD COLUMN pause_until INTEGER;
