"""Pixel maths on arrays and numbers: lookup tables, windows, grayscale, colour (PS3.3)."""
