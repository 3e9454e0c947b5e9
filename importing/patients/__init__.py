"""Whose image a file is, and what is known of each patient in XieHe."""
