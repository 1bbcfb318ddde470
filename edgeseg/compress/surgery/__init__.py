"""Changes to a net that need no training."""
