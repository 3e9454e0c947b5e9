"""The service as the command line reaches it: over HTTP."""
