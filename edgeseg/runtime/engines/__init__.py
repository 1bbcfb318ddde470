"""One file an engine: a library that runs a format."""
