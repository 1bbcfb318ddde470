"""Per layer: quantization error, sensitivity, time."""
