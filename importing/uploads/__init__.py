"""Uploads: intents, confirmation, recovery, circuit breakers."""
