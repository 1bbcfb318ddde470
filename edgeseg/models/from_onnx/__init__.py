"""A float ONNX file as an `nn.Module` of real layers: read once, fixed shapes, shape arithmetic done in advance."""
