"""Model files that edgeseg did not make: what they say of themselves, and how a spec says they are to be read."""
