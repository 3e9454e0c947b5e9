"""The history's parts; its door is :mod:`history`."""
