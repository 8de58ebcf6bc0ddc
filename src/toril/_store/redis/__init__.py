"""The Redis store: queues that BullMQ processes share. `docs/wire.md` says what stands where."""
