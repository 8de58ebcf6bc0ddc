"""The runtime: what adds jobs, what runs them, and what tells of both."""
