"""The measure of every end-to-end test: values and what they should be in, the maximum relative error out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime

Arrays = Mapping[str, np.ndarray]

TOLERANCE = {"float32": 1e-4, "float16": 2e-2}


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """`max |actual - expected| / max |expected|` over the whole tensor; not a number if either holds one."""
    assert actual.shape == expected.shape, f"shape {actual.shape} instead of {expected.shape}"
    actual, expected = actual.astype("float64"), expected.astype("float64")
    return float(abs(actual - expected).max() / abs(expected).max())


def assert_close(actual: Arrays, expected: Arrays, dtype: str) -> None:
    """Every expected tensor is there, of its dtype, and within the tolerance of the model's dtype."""
    assert set(actual) == set(expected)
    for name, values in expected.items():
        assert actual[name].dtype == values.dtype
        error = relative_error(actual[name], values)
        print(f"{name}: maximum relative error {error:.2g}")
        assert error <= TOLERANCE[dtype], f"{name}: maximum relative error {error:.3g}"  # NaN fails, too


def onnx_reference(model: onnx.ModelProto, feeds: Arrays) -> dict[str, np.ndarray]:
    """The outputs of ONNX Runtime on CPU, by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds))))
