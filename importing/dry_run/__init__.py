"""A dry run: an import whose writes go into a plan."""
