"""One module a verb: what `edgeseg <verb>` does, as a function; the command line only parses and renders."""
