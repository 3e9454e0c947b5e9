"""Work beside the tasks, under one supervisor: pauses, schedule, webhook notices, housekeeping."""
