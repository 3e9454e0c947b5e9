"""From bytes to the values of a data set: parsing, attributes, text, character sets."""
