"""From a data set to frames of 8-bit levels, and from these to image files."""
