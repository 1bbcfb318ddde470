"""What is done to each frame around the net: smoothing, uncertainty, drift, resolution."""
