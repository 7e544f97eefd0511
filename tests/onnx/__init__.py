"""ONNX's own node tests as a conformance suite: each case through TVM's llvm target, and through ours in each executor.

`python -m tests.onnx` runs them, keeps what came out, and writes docs/operators.md.
"""
