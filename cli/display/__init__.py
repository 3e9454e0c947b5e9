"""How answers are shown: tables, progress, JSON lines, translations."""
