"""One TOML file a device: data, no code."""
