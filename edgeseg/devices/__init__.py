"""Remote devices over ssh: known devices, pushing artifacts, installing, and running verbs there."""
