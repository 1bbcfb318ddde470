"""The data types that every package shares: standard library and numpy only."""
