"""The run of a task: context, source, files, result."""
