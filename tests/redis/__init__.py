"""The edit and schedule verbs of the Redis store: what stands in Redis afterwards."""
