"""What a Core AI program computes, in numpy: its MLIR text read, its ops evaluated one by one."""
