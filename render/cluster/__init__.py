"""Rendering on the workers of a Dask cluster, over shared storage."""
