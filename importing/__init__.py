"""The import itself, in parts: one run, one file's trip, one patient's desk; the door is :mod:`import_service`."""
