"""Processing of each frame around the net: smoothing, uncertainty, drift, resolution."""
