"""The Relax half of the pipeline, as lists of passes: a model's graph in, scheduled kernels and a planned graph out."""

from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm import relax
from tvm.relax import backend, transform
from tvm.target import Target

from tvm_webgpu.pipeline.passes.attention import LEGALIZE_ATTENTION, RewriteAttention
from tvm_webgpu.pipeline.passes.borrow_dtypes import BorrowDtypes
from tvm_webgpu.pipeline.passes.combine_products import CombineProducts
from tvm_webgpu.pipeline.passes.decompose_batch_norm import DecomposeBatchNorm
from tvm_webgpu.pipeline.passes.dispatch_rows import DispatchRows
from tvm_webgpu.pipeline.passes.dynamic_results import CountResults
from tvm_webgpu.pipeline.passes.fold_affine import FoldAffine
from tvm_webgpu.pipeline.passes.fold_constants import FoldConstantsOnHost
from tvm_webgpu.pipeline.passes.fuse import FuseWithinLimit
from tvm_webgpu.pipeline.passes.fuse_gathers import FuseGathers
from tvm_webgpu.pipeline.passes.fuse_pools import FusePools
from tvm_webgpu.pipeline.passes.fuse_windows import FuseWindows
from tvm_webgpu.pipeline.passes.limit_buffers import LimitConcat
from tvm_webgpu.pipeline.passes.missing_operators import MissingOperators
from tvm_webgpu.pipeline.passes.mixed_precision import to_mixed_precision
from tvm_webgpu.pipeline.passes.order_shape_functions import OrderShapeFunctions
from tvm_webgpu.pipeline.passes.order_symbols import OrderSymbols
from tvm_webgpu.pipeline.passes.pack_weights import PackWeights
from tvm_webgpu.pipeline.passes.separate_shapes import SeparateShapes
from tvm_webgpu.pipeline.passes.share_expressions import ShareExpressions
from tvm_webgpu.pipeline.passes.share_kernels import ShareKernels
from tvm_webgpu.pipeline.passes.tighten_storage import TightenStorage
from tvm_webgpu.pipeline.passes.transposed_convolution import LEGALIZE_TRANSPOSED
from tvm_webgpu.pipeline.passes.unbounded_extremes import UnboundedExtremes
from tvm_webgpu.pipeline.target import storage_buffers


def _fold() -> list[tvm.transform.Pass]:
    return [
        FoldConstantsOnHost(),
        transform.FoldConstant(),
        transform.CanonicalizeBindings(),
        transform.DeadCodeElimination(),
    ]


def simplify(target: Target, mixed_precision: bool = False) -> Sequence[tvm.transform.Pass]:
    """Constants folded, batch norms gone, common expressions shared; operators are still Relax operators."""
    return [
        MissingOperators(),
        BorrowDtypes(),
        CountResults(),
        # Folding first turns transposed weights into constants, so that scales can be folded into them.
        DecomposeBatchNorm(),
        *_fold(),
        FoldAffine(),
        transform.DeadCodeElimination(),
        RewriteAttention(),
        CombineProducts(),
        *([to_mixed_precision(), *_fold()] if mixed_precision else []),
        PackWeights(),
        ShareExpressions(),
        LimitConcat(storage_buffers(target) - 1),
        transform.DeadCodeElimination(),
    ]


def to_kernels(target: Target, share: bool = True) -> Sequence[tvm.transform.Pass]:
    """Operators become TIR functions, fused for the target; those that differ in sizes only are one if `share`."""
    return [
        backend.DispatchSampling(),
        DispatchRows(target),
        backend.DispatchSortScan(),
        transform.LegalizeOps({**LEGALIZE_ATTENTION, **LEGALIZE_TRANSPOSED}),
        UnboundedExtremes(),
        transform.AnnotateTIROpPattern(),
        FuseGathers,
        SeparateShapes,
        FusePools(target),
        FuseWithinLimit(storage_buffers(target)),
        OrderSymbols(),
        FuseWindows(target),
        transform.FuseTIR(),
        # Looks at the reshapes' code, so it comes before scheduling.
        transform.RewriteDataflowReshape(),
        transform.DeadCodeElimination(),
        *([ShareKernels(target)] if share else []),
    ]


def plan_memory(_: Target) -> Sequence[tvm.transform.Pass]:
    """The graph becomes a list of calls whose tensors are allocated from planned storage."""
    return [
        transform.ToNonDataflow(),
        transform.RemovePurityChecking(),
        transform.CallTIRRewrite(),
        transform.StaticPlanBlockMemory(),
        TightenStorage(),
    ]


def to_runtime_calls(_: Target) -> Sequence[tvm.transform.Pass]:
    """Storage, shapes and views become calls of the runtime's functions."""
    return [
        transform.LowerAllocTensor(),
        transform.KillAfterLastUse(),
        transform.LowerRuntimeBuiltin(),
        transform.ComputePrimValue(),
        transform.VMShapeLower(emit_err_ctx=False),
        OrderShapeFunctions(),
        transform.AttachGlobalSymbol(),
    ]


def entry_functions(mod: tvm.IRModule) -> dict[str, relax.Function]:
    """The public Relax functions by name, sorted."""
    found = {
        gvar.name_hint: mod[gvar]
        for gvar in mod.get_global_vars()
        if isinstance(mod[gvar], relax.Function) and mod[gvar].attrs and "global_symbol" in mod[gvar].attrs
    }
    return dict(sorted(found.items()))
