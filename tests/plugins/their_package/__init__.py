"""A package outside edgeseg that adds one of each kind; `entry_points.txt` is all that edgeseg knows of it."""
