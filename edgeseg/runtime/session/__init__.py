"""One opened artifact on one engine."""
