"""Smaller and faster nets from trained ones."""
