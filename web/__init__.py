"""The HTTP side: put together by :mod:`main`, which imports its modules. No other package does."""

__all__: list[str] = []
