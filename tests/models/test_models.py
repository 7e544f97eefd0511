"""The test models are worth testing with: finite, of order one, and every picture or text gives its own output."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from tests.models import ONNX_MODELS, bert, cnn
from tests.models.llama import Reference, llama

CNNS = [name for name in ONNX_MODELS if name != "bert"]


def outputs(name: str, feeds: dict[str, np.ndarray], **options: object) -> list[np.ndarray]:
    model = ONNX_MODELS[name](**options)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [value.astype("float64") for value in session.run(None, feeds)]


def spread(values: np.ndarray) -> float:
    """How far the rows of a batch lie apart, over the largest value."""
    return float(np.ptp(values, axis=0).max() / abs(values).max())


@pytest.mark.parametrize(("name", "dtype"), [*((name, "float32") for name in CNNS), ("mobilenet_v2", "float16")])
def test_cnn_tells_pictures_apart(name: str, dtype: str) -> None:
    (logits,) = outputs(name, {"input": cnn.image(2, 96, dtype=dtype)}, batch="batch", size=96, dtype=dtype)
    assert logits.shape == (2, cnn.CLASSES)
    assert 0.3 < logits.std() < 5
    assert spread(logits) > 0.05


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_bert_tells_texts_apart_and_heeds_the_mask(dtype: str) -> None:
    feeds = bert.text(2, 13)
    hidden, pooled = outputs("bert", feeds, dtype=dtype)
    assert hidden.shape == (2, 13, 128) and pooled.shape == (2, 128)
    assert 0.3 < hidden.std() < 5
    assert spread(hidden) > 0.05 and spread(pooled) > 0.05
    feeds["input_ids"][1, -1] += 1  # a padded token: only its own place may change
    again = outputs("bert", feeds, dtype=dtype)[0]
    np.testing.assert_array_equal(again[1, :-1], hidden[1, :-1])
    assert abs(again[1, -1] - hidden[1, -1]).max() > 0.05


@pytest.mark.parametrize("name", ["mobilenet_v2", "bert"])
def test_a_model_is_the_same_every_time(name: str) -> None:
    options = {} if name == "bert" else {"size": 64}
    assert ONNX_MODELS[name](**options) == ONNX_MODELS[name](**options)


@pytest.mark.parametrize("name", list(ONNX_MODELS))
def test_tvm_imports(name: str) -> None:
    frontend = pytest.importorskip("tvm.relax.frontend.onnx")
    options = {} if name == "bert" else {"size": 64, "batch": "batch"}
    module = frontend.from_onnx(ONNX_MODELS[name](**options), keep_params_in_input=True)
    assert "main" in [g.name_hint for g in module.get_global_vars()]


def test_llama_on_tvms_cpu_matches_numpy() -> None:
    tvm = pytest.importorskip("tvm")
    from tvm_ffi import Shape

    module, weights = llama()
    vm = tvm.relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    parameters = [tvm.runtime.tensor(w) for w in weights.values()]
    caches, reference, total = list(vm["_initialize_effect"]()), Reference(weights), 0
    for entry, tokens in (("prefill", [5, 17, 300]), ("decode", [7]), ("decode", [499])):
        total += len(tokens)
        ids = tvm.runtime.tensor(np.array([tokens], "int32"))
        logits, caches = vm[entry](ids, Shape([total]), *caches, *parameters)
        expected = reference.step(tokens)
        assert abs(logits.numpy()[0, 0] - expected).max() <= 1e-5 * abs(expected).max()
