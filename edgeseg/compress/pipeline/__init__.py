"""Compression recipes: reading, checking and running their stages."""
