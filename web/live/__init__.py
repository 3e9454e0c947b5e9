"""Live push: WebSockets, long polls, and their publisher."""
