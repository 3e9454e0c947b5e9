"""The source tree's parts; its door is :mod:`source_tree`."""
