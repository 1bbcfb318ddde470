"""Changes of a net that need no training."""
