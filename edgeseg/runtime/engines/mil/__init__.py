"""Reads Core ML's `.mlpackage` and computes its ops in numpy: what they mean, not how fast Apple runs them."""
