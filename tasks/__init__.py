"""The live tasks' parts; their door is :mod:`task_registry`."""
