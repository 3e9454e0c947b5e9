"""The demonstration: sandbox and service as two processes, a sample tree, two imports over HTTP, and what came of it.

Knows the service by its HTTP API alone; imports nothing of it, and downloads nothing.
"""
