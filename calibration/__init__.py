"""Calibration sets: which pictures the activation ranges are observed on, and what keeps them honest."""
