"""An exported program in, one of operators that can be converted out, by the definitions that PyTorch has of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch._decomp import decomposition_table

from tvm_webgpu.pipeline.frontends.torch_import import Importer

if TYPE_CHECKING:
    from torch.export import ExportedProgram

KEPT = (
    "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d", "replication_pad2d",
    "replication_pad3d", "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d",
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
    "all", "any", "pixel_shuffle", "index_copy", "scaled_dot_product_attention", "linear",
    "lstm", "gru", "rnn_tanh", "rnn_relu",
)  # fmt: skip
"""Operators whose definition by others takes many kernels, is slow, or can't be fused (a product between two reshapes),
and for which there is a conversion."""

CHECKS = (
    "_assert_scalar",
    "sym_constrain_range",
    "sym_constrain_range_for_size",
    "_assert_async",
    "_assert_tensor_metadata",
)
"""What PyTorch checks when it runs; a package checks shapes itself."""

MAX_ROUNDS = 4


def decompose(program: ExportedProgram) -> ExportedProgram:
    """The same program; an operator that nothing here knows is left as it is."""
    table = torch.export.default_decompositions()
    for operator in list(table):
        if _name(operator).split(".")[0] in KEPT:
            del table[operator]
    program = program.run_decompositions(table)
    known = Importer.known_operators()
    for _ in range(MAX_ROUNDS):
        unknown = {
            node.target
            for module in program.graph_module.modules()
            if isinstance(module, torch.fx.GraphModule)
            for node in module.graph.nodes
            if node.op == "call_function" and _name(node.target) not in known
        }
        rules = {target: decomposition_table[target] for target in unknown if target in decomposition_table}
        if not rules:
            break
        program = program.run_decompositions(rules)
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in list(module.graph.nodes):
                if node.op == "call_function" and _name(node.target).split(".")[0] in CHECKS and not node.users:
                    module.graph.erase_node(node)
            module.graph.eliminate_dead_code()
    return program


def _name(operator: object) -> str:
    return getattr(operator, "__name__", str(operator))
