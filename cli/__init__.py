"""The command line: ``python -m cli``. No other package imports it."""

__all__: list[str] = []
