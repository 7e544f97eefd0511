"""Operators on quantised numbers of ONNX Runtime's domain: what its static quantisation writes as QOperator.

Each is the operator on floats between DequantizeLinear and QuantizeLinear, which are expanded in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tvm_webgpu.pipeline.frontends.onnx_body import Body, Definition

FLOAT = 1


def _operand(body: Body, place: int, **axis: int) -> str:
    """The floats of an operand that is followed by its scale and zero point."""
    zero = [body.input(place + 2)] if body.has(place + 2) else []
    return body.DequantizeLinear(body.input(place), body.input(place + 1), *zero, **axis)


def _result(body: Body, value: str, place: int) -> list[str]:
    """The floats with the scale and zero point at a place."""
    zero = [body.input(place + 1)] if body.has(place + 1) else []
    return [body.QuantizeLinear(value, body.input(place), *zero)]


def _unary(function: Callable[[Body, str], str]) -> Definition:
    return lambda body: _result(body, function(body, _operand(body, 0)), 3)


def _binary(function: Callable[[Body, str, str], str]) -> Definition:
    return lambda body: _result(body, function(body, _operand(body, 0), _operand(body, 3)), 6)


def _softmax(body: Body, x: str) -> str:
    if body.attr("opset", 13) < 13:
        raise body.unsupported("softmax of opset 13 and later can")
    return body.Softmax(x, axis=body.attr("axis", -1))


def _global_pool(body: Body, x: str) -> str:
    if body.attr("channels_last", 0):
        raise body.unsupported("channels first can")
    return body.GlobalAveragePool(x)


def _pool(body: Body, x: str) -> str:
    if body.attr("channels_last", 0):
        raise body.unsupported("channels first can")
    return body.AveragePool(x, **{name: value for name, value in body.attrs.items() if name != "channels_last"})


def _product(body: Body) -> Sequence[str]:
    """alpha * A @ B + C: the bias is in whole numbers, whose scale is that of A times that of B times alpha."""
    across = {"axis": 0 if body.attr("transB", 0) else 1} if body.dims(4) and body.dims(4) != [1] else {}
    scale = body.Mul(body.Mul(body.input(1), body.input(4)), body.scalar(body.attr("alpha", 1.0), 1))
    bias = [body.Mul(body.Cast(body.input(6), to=FLOAT), scale)] if body.has(6) else []
    options = {name: body.attr(name, 0) for name in ("transA", "transB")}
    found = body.Gemm(_operand(body, 0), _operand(body, 3, **across), *bias, alpha=body.attr("alpha", 1.0), **options)
    return _result(body, found, 7) if body.has(7) else [found]


def _concat(body: Body) -> Sequence[str]:
    """The result's scale and zero point come first here."""
    parts = [_operand(body, place) for place in range(2, len(body.node.input), 3)]
    return _result(body, body.Concat(*parts, axis=body.attr("axis", 0)), 0)


QLINEAR: Mapping[str, Definition] = {
    "QGemm": _product,
    "QLinearAdd": _binary(lambda body, a, b: body.Add(a, b)),
    "QLinearAveragePool": _unary(_pool),
    "QLinearConcat": _concat,
    "QLinearGlobalAveragePool": _unary(_global_pool),
    "QLinearLeakyRelu": _unary(lambda body, x: body.LeakyRelu(x, alpha=body.attr("alpha", 0.01))),
    "QLinearMul": _binary(lambda body, a, b: body.Mul(a, b)),
    "QLinearSigmoid": _unary(lambda body, x: body.Sigmoid(x)),
    "QLinearSoftmax": _unary(_softmax),
}
"""The definition of each."""
