"""What the Redis store leaves in Redis, key for key."""
