"""uvicorn's sockets and protocols with limits, and the process itself."""
