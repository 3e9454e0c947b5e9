"""The HTTP side of the service: routes, JSON, guard; put together by :mod:`main`."""
