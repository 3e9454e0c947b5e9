"""Runs of imports: tasks, files, images, uploads. Other packages import :mod:`import_service`."""
