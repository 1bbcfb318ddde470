"""One folder a format, with the same nouns in each: a converter produces a format."""
