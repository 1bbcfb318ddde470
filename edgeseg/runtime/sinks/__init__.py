"""Where a loop's results go; one file for each kind of sink."""
