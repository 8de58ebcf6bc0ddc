"""Values and rules, all pure: no I/O, no clock, no randomness, no tasks, no logging."""
