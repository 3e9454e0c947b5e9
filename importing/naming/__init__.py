"""How images are called in XieHe and on disk."""
