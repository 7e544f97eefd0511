"""An ONNX model in, the same with operators replaced by the functions that ONNX defines them to be out.

ONNX states many operators as functions of simpler ones (https://onnx.ai/onnx/intro/concepts.html#functions), so one
that TVM's importer lacks is often made of others that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from tvm.relax.frontend.onnx import onnx_frontend

from tvm_webgpu.pipeline.frontends.onnx_body import DEFINED_ALREADY, Body, UnknownError
from tvm_webgpu.pipeline.frontends.onnx_contrib import CONTRIB
from tvm_webgpu.pipeline.frontends.onnx_contrib import DOMAIN as MICROSOFT
from tvm_webgpu.pipeline.frontends.onnx_define import DEFINED

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto

NORMALISED = (0, 1, 10)
"""TensorProto's unknown type, float and half: what TVM normalises."""


def _is_beyond(node: NodeProto, types: dict[str, TypeProto]) -> bool:
    """TVM's layer norm gives nothing for the mean and deviation, and takes no doubles."""
    known = types.get(node.input[0])
    return len(node.output) > 1 or (known is not None and known.tensor_type.elem_type not in NORMALISED)


EXPANDED: dict[str, Callable[[NodeProto, dict[str, TypeProto]], bool]] = {
    "Attention": lambda node, types: True,  # TVM's is com.microsoft's operator of this name
    "LayerNormalization": _is_beyond,
}
"""Nodes that are replaced although TVM's importer has a converter for the name."""

DOMAIN = "tvm_webgpu.expanded"

PLAIN_OPSET = 21
"""The version of ONNX's operators in what replaces nodes of a model that names none."""

DEFINITIONS = {"": DEFINED, "ai.onnx.ml": DEFINED, MICROSOFT: CONTRIB}
"""By domain, the operators that are defined here."""


def expand(model: ModelProto, last: bool = False) -> ModelProto:
    """The model without functions of its own, and without operators that only a function can express.

    Wants types inferred, on which some functions depend. UnsupportedError for what can't be expressed; where it is not
    known enough only if this is the `last` time.
    """
    from onnx import helper, inliner

    types, constants = dict(_types(model.graph)), _constants(model.graph)
    opsets = {_domain(item.domain): item.version for item in model.opset_import}
    if "" not in opsets:  # a model of other domains' operators alone
        opsets[""] = PLAIN_OPSET
        model.opset_import.append(helper.make_opsetid("", PLAIN_OPSET))
    for node in nodes_of(model.graph):
        try:
            function = _replacement(node, types, constants, opsets)
        except UnknownError:
            # A later round may know more, or TVM's importer do without.
            if last and node.op_type not in onnx_frontend._get_convert_map():
                raise
            continue
        if function is None:
            continue
        function.domain, function.name = DOMAIN, f"{node.op_type}_{len(model.functions)}"
        # A definition holds for every version of ONNX up to the next definition.
        versions = {
            **opsets,
            **{item.domain: item.version for item in function.opset_import if item.domain not in opsets},
        }
        del function.opset_import[:]
        function.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in versions.items())
        model.functions.append(function)
        node.domain, node.op_type = function.domain, function.name
    if not model.functions:
        return model
    if DOMAIN not in opsets:
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return inliner.inline_local_functions(model, convert_version=False)


def _replacement(
    node: NodeProto, types: dict[str, TypeProto], constants: dict[str, TensorProto], opsets: dict[str, int]
) -> FunctionProto | None:
    """Our definition of the operator, or else ONNX's, where the node wants one."""
    domain = _domain(node.domain)
    if node.doc_string == DEFINED_ALREADY:
        return None
    if define := DEFINITIONS.get(domain, {}).get(node.op_type):
        body = Body(node, types, constants, opsets[""])
        outputs = define(body)
        return None if outputs is None else body.function(outputs)
    wanted = EXPANDED.get(node.op_type) if not domain else None
    if (domain, node.op_type) in _functions() or (wanted is not None and wanted(node, types)):
        return _function(node, types, opsets[domain])
    return None


def nodes_of(graph: GraphProto) -> Iterator[NodeProto]:
    """The nodes of the graph and of its subgraphs."""
    for node in graph.node:
        yield node
        for inner in subgraphs(node):
            yield from nodes_of(inner)


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The branches of an If, the body of a loop."""
    for attr in node.attribute:
        yield from attr.graphs
        if attr.HasField("g"):
            yield attr.g


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


@cache
def _functions() -> frozenset[tuple[str, str]]:
    """Domain and name of every operator that is to be replaced."""
    from onnx import defs

    imported = set(onnx_frontend._get_convert_map())
    return frozenset(
        (schema.domain, schema.name)
        for schema in defs.get_all_schemas_with_history()
        if (schema.has_function or schema.has_context_dependent_function)
        and (schema.domain or schema.name not in imported)
    )


def _types(graph: GraphProto) -> Iterator[tuple[str, TypeProto]]:
    """The values' types by name, those of subgraphs with them."""
    from onnx import helper

    for tensor in graph.initializer:
        yield tensor.name, helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
    for value in (*graph.input, *graph.value_info, *graph.output):
        yield value.name, value.type
    for node in graph.node:
        for inner in subgraphs(node):
            yield from _types(inner)


def _constants(graph: GraphProto) -> dict[str, TensorProto]:
    """What is known by name, before or after it was folded."""
    made = {
        node.output[0]: attr.t
        for node in nodes_of(graph)
        if node.op_type == "Constant"
        for attr in node.attribute
        if attr.name == "value"
    }
    return made | {tensor.name: tensor for tensor in graph.initializer}


def _function(node: NodeProto, types: dict[str, TypeProto], opset: int) -> FunctionProto:
    from onnx import FunctionProto, TypeProto, defs

    schema = defs.get_schema(node.op_type, opset, domain=node.domain)
    given = {attribute.name for attribute in node.attribute}
    node.attribute.extend(
        attribute.default_value
        for name, attribute in schema.attributes.items()
        if name not in given and attribute.default_value.name
    )
    plain, by_context = schema.function_opset_versions, schema.context_dependent_function_opset_versions
    versions = [*plain, *by_context]
    version = max((version for version in versions if version <= opset), default=min(versions))
    if version in plain:
        text = schema.get_function_with_opset_version(version)
    else:
        known = [types.get(name, TypeProto()).SerializeToString() for name in node.input]
        text = schema.get_context_dependent_function_with_opset_version(version, node.SerializeToString(), known)
    function = FunctionProto()
    function.ParseFromString(text)
    return function
