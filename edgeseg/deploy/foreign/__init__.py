"""Model files that edgeseg did not make: described, adopted as artifacts, and started with a spec.toml."""
