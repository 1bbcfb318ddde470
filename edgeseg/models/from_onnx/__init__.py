"""A float ONNX file as an `nn.Module` of real layers: read once, with fixed shapes."""
