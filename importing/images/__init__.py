"""Images that are kept in OUTPUT_DIR or rendered again for display."""
