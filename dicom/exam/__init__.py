"""Which of XieHe's exam types an image has, by a table of rules."""
