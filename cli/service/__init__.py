"""The service as the command line reaches it: over HTTP, or as a child process."""
