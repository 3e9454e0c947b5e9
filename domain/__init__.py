"""Rules that belong to no single package: ids, counts, codes, files of this machine."""
