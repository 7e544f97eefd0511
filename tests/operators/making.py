"""Rows of operators that make tensors, find things in them, take gradients; and of sizes that are 0 or large."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import relax, te, tirx

from . import reference as ref
from .spec import EVERY, FLOATS, INTEGERS, NUMBERS, In, Row

R = relax.op
NO_INPUT = (In((1,)),)
WHOLE = (*INTEGERS, "int16", "uint16", "uint64")


def _made(name: str, build: Callable[[str], relax.Expr], reference: Callable[[], np.ndarray]) -> Row:
    """A tensor from nothing; the input, which a row needs, only says the dtype."""
    return Row(
        name,
        lambda x: build(str(x.ty.dtype)),
        lambda x: reference().astype(x.dtype),
        NUMBERS,
        NO_INPUT,
        1,
    )


def by_element(compute: Callable[..., tirx.Expr]) -> Callable[..., relax.Expr]:
    """An operator of TIR that Relax has none for, element by element."""

    def build(*inputs: relax.Expr) -> relax.Expr:
        def rule(*tensors: te.Tensor) -> te.Tensor:
            return te.compute(tensors[0].shape, lambda *i: compute(*(t(*i) for t in tensors)))

        return relax.BlockBuilder.current().call_te(rule, *inputs)

    return build


def _bits(x: np.ndarray) -> np.ndarray:
    unsigned = x.view(f"u{x.dtype.itemsize}")
    return sum(((unsigned >> np.array(i, unsigned.dtype)) & 1).astype("int64") for i in range(x.dtype.itemsize * 8))


def _multiply_shift(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Fixed-point product of Q31 numbers, rounded half up, over 2**s: TVM's definition."""
    product = x.astype("int64") * y.astype("int64")
    total = s.astype("int64") + 31
    return ((product + (np.int64(1) << (total - 1))) >> total).astype("int32")


def _leading(x: np.ndarray) -> np.ndarray:
    width = x.dtype.itemsize * 8
    return np.array([width - int(v).bit_length() for v in x.view(f"u{x.dtype.itemsize}").ravel()]).reshape(x.shape)


def _unique(x: np.ndarray) -> np.ndarray:
    return np.unique(x)


def _nll(p: np.ndarray, t: np.ndarray, w: np.ndarray) -> np.ndarray:
    picked = -p[np.arange(len(t)), t.astype(int)] * w[t.astype(int)]
    return picked.sum() / w[t.astype(int)].sum()


def _nll_backward(g: np.ndarray, p: np.ndarray, t: np.ndarray, w: np.ndarray) -> np.ndarray:
    out = np.zeros_like(p)
    rows = t.astype(int)
    out[np.arange(len(t)), rows] = -w[rows] / w[rows].sum() * g
    return out


def _pool_backward(g: np.ndarray, x: np.ndarray, size: int, stride: int, largest: bool) -> np.ndarray:
    out = np.zeros_like(x)
    for n, c, i, j in np.ndindex(*g.shape):
        rows, columns = slice(i * stride, i * stride + size), slice(j * stride, j * stride + size)
        window = x[n, c, rows, columns]
        share = (np.arange(window.size).reshape(window.shape) == window.argmax()) if largest else 1 / size**2
        out[n, c, rows, columns] += g[n, c, i, j] * share
    return out


def _take_backward(g: np.ndarray, x: np.ndarray, i: np.ndarray) -> np.ndarray:
    out = np.zeros_like(x)
    np.add.at(out, (slice(None), i.astype(int)), g)
    return out


def _quantised(x: np.ndarray, s: np.ndarray, z: np.ndarray, dtype: str) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.clip(np.round(x / s[:, None]) + z[:, None], info.min, info.max)


def _sum_to(x: np.ndarray) -> np.ndarray:
    return x.sum(axis=(0, 2), keepdims=True, dtype=x.dtype)[0]


CREATION: tuple[Row, ...] = (
    _made("arange", lambda d: R.arange(3, 50, 3, d), lambda: np.arange(3, 50, 3)),
    _made("full", lambda d: R.full((3, 5), relax.const(7, d), d), lambda: np.full((3, 5), 7)),
    _made("zeros", lambda d: R.zeros((3, 5), d), lambda: np.zeros((3, 5))),
    _made("ones", lambda d: R.ones((3, 5), d), lambda: np.ones((3, 5))),
    _made("eye", lambda d: R.eye(4, 6, 1, d), lambda: np.eye(4, 6, 1)),
    Row("full_like", lambda x: R.full_like(x, relax.const(2, str(x.ty.dtype))), lambda x: np.full_like(x, 2), NUMBERS,
        (In((4, 3)),), 0),
    Row("hamming_window", lambda x: R.hamming_window(12, False, 0.54, 0.46, str(x.ty.dtype)),
        lambda x: 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(12) / 11), ("float32", "float16"), NO_INPUT, 8, True),
)  # fmt: skip

FINDING: tuple[Row, ...] = (
    Row("nonzero", R.nonzero, lambda x: np.array(np.nonzero(x)), EVERY, (In((7, 5), "bits"),), 0),
    Row("nonzero", R.nonzero, lambda x: np.array(np.nonzero(x)), ("bool", "float32"), (In((3000,), "bits"),), 0),
    Row("unique", lambda x: R.unique(x, sorted=True), _unique, NUMBERS, (In((6, 9), "ties"),), 0),
    Row("unique", lambda x: R.unique(x, sorted=True), _unique, ("int32", "float32"), (In((2500,), "ties"),), 0),
    Row("take clip", lambda x, i: R.take(x, i, 0, "clip"), lambda x, i: np.take(x, i, 0, mode="clip"), EVERY,
        (In((7, 3), "wide"), In((9,), "signed_index:20", "int64")), 0),
    Row("take wrap", lambda x, i: R.take(x, i, 0, "wrap"), lambda x, i: np.take(x, i, 0, mode="wrap"), EVERY,
        (In((7, 3), "wide"), In((9,), "signed_index:20", "int32")), 0),
    Row("take flat", lambda x, i: R.take(R.flatten(x), i), lambda x, i: x.ravel()[i], EVERY,
        (In((7, 3), "wide"), In((2, 5), "index:21", "int64")), 0),
    Row("dynamic_strided_slice", R.dynamic_strided_slice, lambda x, b, e, s: x[1:6:2, 0:3:1], EVERY,
        (In((7, 5), "wide"), In((2,), "list:1 0", "int64"), In((2,), "list:6 3", "int64"),
         In((2,), "list:2 1", "int64")), 0),
    Row("multinomial_from_uniform", R.multinomial_from_uniform,
        lambda p, u, i: (np.cumsum(p, 1)[i[:, 0].astype(int)] > u).argmax(1)[:, None], ("float32",),
        (In((3, 4), "probabilities"), In((6, 1), "between", "float32"), In((6, 1), "index:3", "int64")), 0),
    Row("one_hot axis", lambda i: R.one_hot(i, 1, 0, 7, 0), lambda i: ref.one_hot(i, 7, 1, 0).transpose(2, 0, 1),
        ("int32", "int64"), (In((5, 3), "index:7"),), 0),
)  # fmt: skip

BITS: tuple[Row, ...] = (
    Row("popcount", by_element(tirx.popcount), _bits, ("int32", "uint32", "int64", "uint64", "int8", "uint8"),
        (In((253,), "wide"),), 0),
    Row("clz", by_element(tirx.clz), _leading, ("int32", "uint32", "int64", "uint64"), (In((253,), "wide"),), 0),
    Row("nextafter", by_element(tirx.nextafter),
        lambda x, y: np.nextafter(x.astype("float32"), y.astype("float32")), ("float32",),
        (In((300,)), In((300,))), 0),
    Row("ldexp", by_element(tirx.ldexp), lambda x, n: np.ldexp(x, n), ("float32",),
        (In((300,)), In((300,), "signed_index:60", "int32")), 0),
    Row("q_multiply_shift",
        by_element(lambda x, y, s: tirx.q_multiply_shift(x, y, tirx.const(31, "int32"), s)), _multiply_shift,
        ("int32",), (In((300,), "wide"), In((300,), "wide"), In((300,), "index:20", "int32")), 0),
    *(Row(name, by_element(op), function, FLOATS, (In((8,), "special_right"),), 8)
      for name, op, function in (("log2", tirx.log2, np.log2), ("log10", tirx.log10, np.log10),
                                 ("log1p", tirx.log1p, np.log1p), ("exp2", tirx.exp2, np.exp2),
                                 ("exp10", tirx.exp10, lambda x: 10.0**x))),
    *(Row(name, by_element(op), function, FLOATS, (In((5, 67), "positive"),), 16, True)
      for name, op, function in (("log2", tirx.log2, np.log2), ("log10", tirx.log10, np.log10),
                                 ("log1p", tirx.log1p, np.log1p), ("exp2", tirx.exp2, np.exp2))),
    *(Row(name, by_element(op), function, ("float32", "float16"), (In((731,), "left"), In((731,), "right")), 8)
      for name, op, function in (("hypot", tirx.hypot, np.hypot), ("copysign", tirx.copysign, np.copysign),
                                 ("fmod", tirx.fmod, np.fmod))),
)  # fmt: skip

TRAINING: tuple[Row, ...] = (
    Row("nll_loss", R.nn.nll_loss, _nll, ("float32", "float16"),
        (In((6, 5)), In((6,), "index:5", "int64"), In((5,), "positive")), 32, True),
    Row("nll_loss_backward", R.grad.nll_loss_backward, _nll_backward, ("float32",),
        (In(()), In((6, 5)), In((6,), "index:5", "int64"), In((5,), "positive")), 32, True),
    Row("max_pool2d_backward", lambda g, x: R.grad.max_pool2d_backward(g, x, (2, 2), (2, 2)),
        lambda g, x: _pool_backward(g, x, 2, 2, True), ("float32", "float16"),
        (In((1, 2, 3, 4)), In((1, 2, 6, 8), "distinct")), 8, True),
    Row("avg_pool2d_backward", lambda g, x: R.grad.avg_pool2d_backward(g, x, (3, 3), (2, 2)),
        lambda g, x: _pool_backward(g, x, 3, 2, False), ("float32",), (In((1, 2, 3, 4)), In((1, 2, 7, 9))), 16, True),
    Row("take_backward", lambda g, x, i: R.grad.take_backward(g, x, i, 1), _take_backward, ("float32", "int32"),
        (In((3, 20)), In((3, 6)), In((20,), "index:6", "int64")), 16, True),
    Row("dropout", lambda x: R.nn.dropout(x, 0.5)[0], lambda x: x, FLOATS, (In((5, 7)),), 0),
    Row("collapse_sum_to", lambda x: R.collapse_sum_to(x, (3, 1)), _sum_to, ("float32", "int32", "int64"),
        (In((4, 3, 5)),), 16, True),
    Row("collapse_sum_like", R.collapse_sum_like, lambda x, y: _sum_to(x), ("float32", "int32"),
        (In((4, 3, 5)), In((3, 1))), 16, True),
    Row("ewise_fma", R.ewise_fma, lambda x, y, z: x * y + z, ("float32", "float16", "int32"),
        (In((33,)), In((33,)), In((33,))), 8, True),
    *(Row(f"quantize {dtype}", lambda x, s, z, d=dtype: R.quantize(x, s, z, 0, d),
          lambda x, s, z, d=dtype: _quantised(x, s, z, d), ("float32",),
          (In((3, 40)), In((3,), "positive"), In((3,), "ties", dtype)), 0) for dtype in ("int8", "uint8")),
    *(Row(f"dequantize {dtype}", lambda x, s, z: R.dequantize(x, s, z, 0, "float32"),
          lambda x, s, z: (x.astype("int32") - z.astype("int32")[:, None]) * s[:, None], (dtype,),
          (In((3, 40), "wide"), In((3,), "positive", "float32"), In((3,), "ties")), 4) for dtype in ("int8", "uint8")),
)  # fmt: skip

NONE = (In((0, 5)),)
# A thread may do 4 elements, so 256 of them 1,024: these need more than 65,535 workgroups.
LARGE = 65536 * 1024 + 4

SIZES: tuple[Row, ...] = (
    Row("add", R.add, np.add, EVERY[:-1], (In((0, 5)), In((1, 5)))),
    Row("exp", R.exp, np.exp, FLOATS, NONE),
    Row("sum", lambda x: R.sum(x, 0), lambda x: x.sum(0, dtype=x.dtype), NUMBERS, NONE),
    Row("sum", lambda x: R.sum(x, 1), lambda x: x.sum(1, dtype=x.dtype), NUMBERS, NONE),
    # A mask that hides a whole row leaves nothing but -infinity.
    *(Row(name, lambda x, f=reduce: f(x, 1), lambda x, v=value: np.full(len(x), v), FLOATS, (In(shape, f"list:{row}"),))
      for name, reduce, value, row in (("max", R.max, -np.inf, "-inf " * 6), ("min", R.min, np.inf, "inf " * 6))
      for shape in ((2, 3), (6, 1))),
    *(Row(name, lambda x, f=reduce: f(x, 0), lambda x, v=value: np.full(x.shape[1], v), FLOATS, NONE)
      for name, reduce, value in (("max", R.max, -np.inf), ("min", R.min, np.inf))),
    Row("cumsum", lambda x: R.cumsum(x, 0), lambda x: x.cumsum(0, dtype=x.dtype), ("float32", "int64"), NONE),
    Row("sort", lambda x: R.sort(x, 0), lambda x: np.sort(x, 0), ("float32", "int64"), NONE),
    Row("argmax", lambda x: R.argmax(x, 1), lambda x: np.argmax(x, 1), ("float32", "int64"), NONE),
    Row("softmax", lambda x: R.nn.softmax(x, -1), lambda x: x, FLOATS, NONE),
    Row("matmul", R.matmul, np.matmul, ("float32", "int32"), (In((0, 5)), In((5, 3)))),
    Row("matmul", R.matmul, np.matmul, ("float32", "int32"), (In((4, 0)), In((0, 3)))),
    Row("concat of 2", lambda x, y: R.concat([x, y], 0), lambda x, y: np.concatenate([x, y]), EVERY,
        (In((0, 5)), In((3, 5), "wide")), 0),
    Row("take", lambda x, i: R.take(x, i, 0), lambda x, i: x[i], EVERY, (In((4, 3)), In((0,), "any", "int64")), 0),
    Row("scatter_elements add", lambda x, i, u: R.scatter_elements(x, i, u, 0, "add"), lambda x, i, u: x, NUMBERS,
        (In((4, 3)), In((0, 3), "any", "int64"), In((0, 3)))),
    Row("permute_dims", R.permute_dims, np.transpose, EVERY, NONE, 0),
    Row("strided_slice", lambda x: R.strided_slice(x, [0], [2], [2]), lambda x: x[2:2], EVERY, (In((4, 5)),), 0),
    Row("nonzero", R.nonzero, lambda x: np.array(np.nonzero(x)), ("bool", "float32"), NONE, 0),
    Row("conv2d", lambda x, w: R.nn.conv2d(x, w), lambda x, w: np.zeros((0, 4, 5, 5)), FLOATS,
        (In((0, 3, 7, 7)), In((4, 3, 3, 3)))),
)  # fmt: skip

LARGE_SIZES: tuple[Row, ...] = (
    Row("add", R.add, np.add, ("uint8",), (In((LARGE,), "bits"), In((1,), "bits")), 0),
    Row("cast to uint8", lambda x: R.astype(x, "uint8"), lambda x: x, ("int8",), (In((LARGE,), "bits"),), 0),
    Row("max", lambda x: R.max(x, 1), lambda x: x.max(1), ("uint8",), (In((70001, 3), "wide"),), 0),
    Row("sum", lambda x: R.sum(x, 1), lambda x: x.sum(1, dtype="int32"), ("int32",), (In((70001 * 8, 40)),), 0),
    Row("argmax", lambda x: R.argmax(x, 1), lambda x: x.argmax(1), ("uint8",), (In((70001, 70), "wide"),), 0),
    Row("cumsum", lambda x: R.cumsum(x, 1), lambda x: x.cumsum(1, dtype="int32"), ("int32",), (In((70001, 66)),), 0),
    Row("argsort", lambda x: R.argsort(x, 1, False, "int32"), lambda x: ref.order(x, 1, False), ("uint8",),
        (In((70001, 3), "wide"),), 0),
    Row("softmax", lambda x: R.nn.softmax(x, -1), ref.softmax, ("float32",), (In((70001 * 8, 33)),), 64, True),
    Row("matmul", R.matmul, np.matmul, ("float32",), (In((70001, 1, 8), "small"), In((8, 8), "small")), 64, True),
    Row("matmul", R.matmul, np.matmul, ("float32",), (In((70001 * 16, 4), "small"), In((4, 3), "small")), 64, True),
    Row("take", lambda x, i: R.take(x, i, 0), lambda x, i: x[i], ("int8",),
        (In((7, 1024), "wide"), In((65540,), "index:7", "int32")), 0),
    Row("scatter_elements add", lambda x, i, u: R.scatter_elements(x, i, u, 1, "add"),
        lambda x, i, u: _added(x, i, u), ("int32",),
        (In((70001 * 64, 2)), In((70001 * 64, 1), "index:2", "int32"), In((70001 * 64, 1)))),
    Row("permute_dims", R.permute_dims, np.transpose, ("int8",), (In((8, LARGE // 8 + 1), "bits"),), 0),
)  # fmt: skip


def _added(x: np.ndarray, i: np.ndarray, u: np.ndarray) -> np.ndarray:
    out = x.copy()
    rows = np.arange(len(x))
    out[rows, i[:, 0]] += u[:, 0]
    return out


__all__ = ["BITS", "CREATION", "FINDING", "LARGE_SIZES", "SIZES", "TRAINING"]
