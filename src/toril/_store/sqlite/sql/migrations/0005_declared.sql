-- What the code of apps declares: whose a schedule is, and what each worker's code knows of.
ALTER TABLE queues ADD COLUMN declared INTEGER NOT NULL DEFAULT 0;
ALTER TABLE schedules ADD COLUMN owner TEXT;
ALTER TABLE workers ADD COLUMN declares TEXT;
