"""Whole models, compiled once and run by every executor, against ONNX Runtime or NumPy."""
