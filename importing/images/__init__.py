"""Images that are kept in OUTPUT_DIR or rendered again to be looked at."""
