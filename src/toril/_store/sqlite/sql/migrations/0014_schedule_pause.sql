-- Who paused a schedule and why, as JSON, and since when.
ALTER TABLE schedules ADD COLUMN pause TEXT;
ALTER TABLE schedules ADD COLUMN pause_since INTEGER;
