"""Quantization-aware training, equalization, mixed precision."""
