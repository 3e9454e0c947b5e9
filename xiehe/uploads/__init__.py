"""Uploads in the dialects C1 to C4."""
