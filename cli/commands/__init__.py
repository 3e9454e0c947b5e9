"""The commands: arguments, sessions, exit codes."""
