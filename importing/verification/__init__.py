"""Whether XieHe has what a task uploaded."""
