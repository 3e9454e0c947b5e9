"""Live push: WebSockets, long polls, and what feeds them."""
