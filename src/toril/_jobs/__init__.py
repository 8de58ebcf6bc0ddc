"""What a job is to the code that adds it: its handle, its payload, its events, its results."""
