"""Rewrites of the graph for the sake of kernels: what they find, and that results stay the same (on the CPU)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op as R
from tvm_webgpu.pipeline.passes.attention import LEGALIZE_ATTENTION, RewriteAttention
from tvm_webgpu.pipeline.passes.combine_products import CombineProducts
from tvm_webgpu.pipeline.passes.tighten_storage import TightenStorage
from tvm_webgpu.pipeline.signatures import storage_of

BATCH, SEQUENCE, HEADS, WIDTH = 2, 9, 3, 8
MODEL = HEADS * WIDTH


def _constant(rng: np.random.Generator, *shape: int) -> relax.Expr:
    return relax.const(rng.standard_normal(shape).astype("float32") / 4)


def encoder_block(keys_of: str = "x", masks: int = 1, scale: str = "divide") -> tvm.IRModule:
    """Attention as an ONNX export writes it: x [batch, sequence, model], masks [batch, 1, 1, sequence]."""
    rng = np.random.default_rng(1)
    bb = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((BATCH, SEQUENCE, MODEL), "float32"))
    other = relax.Var("other", relax.TensorType((BATCH, SEQUENCE, MODEL), "float32"))
    mask = relax.Var("mask", relax.TensorType((BATCH, 1, 1, SEQUENCE), "float32"))
    with bb.function("main", [x, other, mask]):
        with bb.dataflow():
            source = {"x": x, "other": other}[keys_of]
            heads = []
            for operand in (x, source, source):
                product = bb.emit(R.matmul(operand, _constant(rng, MODEL, MODEL)))
                biased = bb.emit(R.add(product, _constant(rng, MODEL)))
                heads.append(bb.emit(R.reshape(biased, (BATCH, SEQUENCE, HEADS, WIDTH))))
            q, v = (bb.emit(R.permute_dims(h, [0, 2, 1, 3])) for h in (heads[0], heads[2]))
            k = bb.emit(R.permute_dims(heads[1], [0, 2, 3, 1]))
            scores = bb.emit(R.matmul(q, k))
            factor = relax.const(np.float32(WIDTH**0.5))
            scores = bb.emit(R.divide(scores, factor) if scale == "divide" else R.multiply(scores, factor))
            for _ in range(masks):
                scores = bb.emit(R.add(scores, mask))
            weights = bb.emit(R.nn.softmax(scores, -1))
            result = bb.emit(R.permute_dims(bb.emit(R.matmul(weights, v)), [0, 2, 1, 3]))
            out = bb.emit_output(R.reshape(result, (BATCH, SEQUENCE, MODEL)))
        bb.emit_func_output(out)
    return bb.get()


def operators(mod: tvm.IRModule) -> Counter[str]:
    found: Counter[str] = Counter()
    for block in mod["main"].body.blocks:
        found.update(b.value.op.name for b in block.bindings if isinstance(b.value, relax.Call))
    return found


def run(mod: tvm.IRModule) -> np.ndarray:
    target = tvm.target.Target("llvm")
    with target:
        built = relax.build(relax.transform.LegalizeOps(LEGALIZE_ATTENTION)(mod), target)
    rng = np.random.default_rng(2)
    shapes = [(BATCH, SEQUENCE, MODEL)] * 2 + [(BATCH, 1, 1, SEQUENCE)]
    inputs = [tvm.runtime.tensor(rng.standard_normal(s).astype("float32")) for s in shapes]
    return relax.VirtualMachine(built, tvm.cpu())["main"](*inputs).numpy()


def rewritten(mod: tvm.IRModule) -> tvm.IRModule:
    passes = [RewriteAttention(), CombineProducts(), relax.transform.DeadCodeElimination()]
    return tvm.transform.Sequential(passes)(mod)


@pytest.mark.parametrize(
    ("options", "products"), [({}, 1), ({"keys_of": "other"}, 2), ({"masks": 2, "scale": "multiply"}, 1)]
)
def test_an_encoder_block(options: dict, products: int) -> None:
    mod = encoder_block(**options)
    after = rewritten(mod)
    found = operators(after)
    assert found["relax.nn.attention_bias"] + found["relax.nn.attention"] == 1
    assert found["relax.matmul"] == products
    assert not found["relax.nn.softmax"]
    assert not found["relax.permute_dims"]
    np.testing.assert_allclose(run(after), run(mod), rtol=1e-4, atol=1e-5)


def test_products_that_other_products_read_stay_apart() -> None:
    """A slice would then be a launch of its own."""
    rng = np.random.default_rng(1)
    bb = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((8, 8), "float32"))
    with bb.function("main", [x]):
        with bb.dataflow():
            a, b = (bb.emit(R.matmul(x, _constant(rng, 8, 8))) for _ in range(2))
            out = bb.emit_output(R.matmul(a, b))
        bb.emit_func_output(out)
    assert operators(rewritten(bb.get()))["relax.matmul"] == 3


def _chain() -> tvm.IRModule:
    """A small tensor that lives long, as behind a residual connection, takes the block that larger ones need."""
    bb = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((4, 256), "float32"))
    with bb.function("main", [x]):
        with bb.dataflow():
            first = bb.emit(R.nn.softmax(bb.emit(R.nn.softmax(x))))
            wide = bb.emit(R.nn.softmax(bb.emit(R.concat([first] * 4, 1))))
            small = bb.emit(R.max(wide, [1], keepdims=True))
            middle = bb.emit(R.nn.softmax(bb.emit(R.broadcast_to(small, (4, 384)))))
            last = bb.emit(R.max(bb.emit(R.nn.softmax(middle)), [1], keepdims=True))
            out = bb.emit_output(R.add(last, small))
        bb.emit_func_output(out)
    return bb.get()


def test_storage_is_shared_by_tensors_that_do_not_live_together() -> None:
    t = relax.transform
    lower = tvm.transform.Sequential([
        t.LegalizeOps(), t.AnnotateTIROpPattern(), t.FuseOps(), t.FuseTIR(), t.ToNonDataflow(),
        t.RemovePurityChecking(), t.CallTIRRewrite(), t.StaticPlanBlockMemory(),
    ])  # fmt: skip
    target = tvm.target.Target("llvm")
    finish = tvm.transform.Sequential([
        t.LowerAllocTensor(), t.KillAfterLastUse(), t.LowerRuntimeBuiltin(), t.ComputePrimValue(), t.VMShapeLower(),
        t.AttachGlobalSymbol(),
    ])  # fmt: skip
    x = tvm.runtime.tensor(np.random.default_rng(3).standard_normal((4, 256)).astype("float32"))
    results, sizes = [], []
    with target:
        planned = lower(_chain())
        for mod in (planned, TightenStorage()(planned)):
            sizes.append(sum(storage_of(mod["main"])))
            machine = relax.VirtualMachine(relax.build(finish(mod), target, relax_pipeline=None), tvm.cpu())
            results.append(machine["main"](x).numpy())
    np.testing.assert_allclose(results[1], results[0], rtol=1e-6)
    assert sizes[1] < sizes[0], sizes
