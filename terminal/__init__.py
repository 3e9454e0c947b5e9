"""The command line's room: see ``cli``."""
