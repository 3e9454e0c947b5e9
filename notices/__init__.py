"""Behind the door ``webhook``."""
