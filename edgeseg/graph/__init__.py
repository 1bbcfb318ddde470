"""What is done to a graph, one pass a file: batch-norm folding, quantization points, layer shapes, hooks."""
