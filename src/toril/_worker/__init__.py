"""The worker: claim jobs, run them, keep their locks, and report what happened."""
