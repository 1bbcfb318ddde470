"""Structured pruning and sparsity."""
