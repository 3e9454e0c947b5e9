"""The import of one file, from the scan to its outcome."""
