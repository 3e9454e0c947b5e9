"""Which months of the source are imported."""
