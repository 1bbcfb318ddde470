"""Weights of other projects: their key names as data, one module per project."""
