"""Whole segmentation nets."""
