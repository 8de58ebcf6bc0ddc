"""What users declare: tasks, processors, schedules, and what handlers depend on."""
