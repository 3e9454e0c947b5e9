"""The render processes' parts; their door is :mod:`render_pool`."""
