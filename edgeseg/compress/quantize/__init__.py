"""Quantization-aware training, mixed precision, and post-training steps: equalization, smoothing, rounding, biases."""
