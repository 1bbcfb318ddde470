"""Parts that nets share."""
