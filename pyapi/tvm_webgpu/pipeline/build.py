"""`compile`: a model in any form that a front end knows in, a package out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import tvm
import tvm_ffi
from tvm import relax
from tvm.target import Target

import tvm_webgpu
from tvm_webgpu.errors import InputError, InvalidModuleError, UnsupportedError
from tvm_webgpu.package import START, Entry, Package, Variant, can_start
from tvm_webgpu.pipeline import graph
from tvm_webgpu.pipeline.cache import Cache, default_folder
from tvm_webgpu.pipeline.frontends import load_model
from tvm_webgpu.pipeline.host import build_host
from tvm_webgpu.pipeline.kernels import compile_functions
from tvm_webgpu.pipeline.limits import required_limits
from tvm_webgpu.pipeline.lower import kernel_names, lower
from tvm_webgpu.pipeline.model import ImportOptions, Model
from tvm_webgpu.pipeline.passes.lift_constants import lift_constants
from tvm_webgpu.pipeline.progress import LOG, Listener, Progress
from tvm_webgpu.pipeline.signatures import inputs_of, outputs_of, storage_of
from tvm_webgpu.pipeline.target import FEATURES, SOFTWARE, SUBGROUPS_OF_32, enabled_features, resolve_target
from tvm_webgpu.pipeline.variants import parse_variant

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch.export import ExportedProgram

for _error in (UnsupportedError, InputError, InvalidModuleError):
    # Without this, an error raised inside of a pass comes out of TVM as a RuntimeError.
    tvm_ffi.register_error(_error.__name__, _error)


def compile(
    model: tvm.IRModule | ModelProto | ExportedProgram | str | os.PathLike[str],
    target: str | Mapping[str, object] | Target = "webgpu",
    *,
    name: str | None = None,
    params: Mapping[str, object] | None = None,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    features: Iterable[str] = (),
    mixed_precision: bool = False,
    variants: Iterable[str] = (),
    cache: bool = True,
    progress: Listener | None = None,
) -> Package:
    """Compiles a model for WebGPU and WebAssembly.

    Parameters
    ----------
    model: a Relax IRModule, a torch.export ExportedProgram, an ONNX ModelProto, or a path: `.onnx`, `.pt2`, or
        `module.py:function`, where the function returns one of the former, or an IRModule with its parameters.
    target: "webgpu", or a dict or Target of that kind; its attributes `feature.f16`, `feature.subgroups` allow
        what not every device has.
    name: the package's name; by default the file's or the graph's.
    params: arrays by name, bound to the entries' parameters of these names (IRModule only).
    shapes: shapes of inputs by name, of numbers and symbols, instead of those in the model (ONNX only).
    features: more target features by name, e.g. "f16".
    mixed_precision: compute matrix products and convolutions of a float32 model in float16, accumulated in
        float32 (in large products after every 64 terms); inputs and outputs keep their dtypes. Needs the feature f16
        to be fast.
    variants: more forms of the model in the same package, best first, of which a runtime loads the first that its
        device can run: "f16", "subgroups", "subgroup_matrix", "limits", "software" (for adapters that are programs on
        the CPU), or "NAME=f16,mixed_precision,threads=512" (pipeline/variants.py). "start" is run until the driver has
        compiled the one that is chosen. One in which nothing differs is left out, and "start" of a model with state.
    cache: keep compiled kernels on disk (docs/compiling.md) and use what is kept.
    progress: called with (phase, steps done, steps in all).

    Raises InputError for a model or target that can't be read, and UnsupportedError for one that is beyond
    what can be compiled, naming the operator.
    """
    for argument, given in (("params", params), ("shapes", shapes)):
        if not isinstance(given, Mapping | None):
            raise InputError(f"{argument} is a {type(given).__name__}, not a dict by name")
    report = Progress(progress) if progress else Progress()
    resolved = resolve_target(target, features)
    specs = [parse_variant(text) for text in variants]
    if mixed_precision and "f16" not in enabled_features(resolved):
        raise InputError("mixed precision needs the target feature f16")
    with report.phase("import"):
        options = ImportOptions(name, dict(shapes or {}), dict(params or {}))
        imported = load_model(model, options)
    kernels = Cache(default_folder() if cache else None)
    package = _build(imported, resolved, mixed_precision, kernels, report)
    built = [
        Variant(
            spec.name,
            _build(
                imported,
                spec.target(resolved),
                spec.mixed_precision or (spec.name == START and mixed_precision),  # on the same parameters
                kernels,
                report.within(spec.name),
            ),
        )
        for spec in specs
    ]
    different = [variant for variant in built if _is_of_use(variant, package)]
    for variant in built:
        if variant not in different:
            LOG.warning("variant %s is left out: the model has no use for it", variant.name)
    return package.with_variants(different)


def _is_of_use(variant: Variant, package: Package) -> bool:
    if variant.name == START and not can_start(variant.package, package):
        return False  # what a model keeps between calls can't be handed over
    return not _same(variant.package, package)


def _same(a: Package, b: Package) -> bool:
    """Whether two builds run the same kernels, on the same devices."""
    return (a.kernels, a.features, a.limits, a.wasm) == (b.kernels, b.features, b.limits, b.wasm)


@contextlib.contextmanager
def _typed() -> Iterator[None]:
    """What fails inside of TVM's passes as an error of ours, its own as the cause."""
    try:
        yield
    except (tvm.error.InternalError, AssertionError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UnsupportedError(f"the model can't be compiled: {reason[-1]}") from error


@_typed()
def _build(model: Model, target: Target, mixed_precision: bool, cache: Cache, report: Progress) -> Package:
    mod = _mark_inputs(model)
    with target:
        with report.phase("simplify"):
            mod = tvm.transform.Sequential(graph.simplify(target, mixed_precision))(mod)
        with report.phase("fuse"):
            mod = tvm.transform.Sequential(graph.to_kernels(target))(mod)
            names = kernel_names(mod)
        with report.phase("plan"):
            functions = graph.entry_functions(mod)
            lifted = lift_constants(mod, functions, model.constant_names)
            mod = tvm.transform.Sequential(graph.plan_memory(target))(lifted.mod)
            storage = {name: storage_of(func) for name, func in graph.entry_functions(mod).items()}
            mod = tvm.transform.Sequential(graph.to_runtime_calls(target))(mod)
        with report.phase("lower"):
            lowered = lower(mod, names, target)
        launchers, kernels = compile_functions(lowered.kernels, target, cache, report)
    entries = tuple(
        Entry(
            name,
            inputs_of(func, model.entries[name]),
            outputs_of(func, model.entries[name]),
            lifted.used[name],
            storage[name],
        )
        for name, func in functions.items()
    )
    with report.phase("host"):
        lowered.host.update(launchers)
        wasm = build_host(lowered, kernels, entries, len(lifted.params), target, cache)
    cache.trim()
    used = {feature for kernel in kernels.kernels for feature in kernel.features}
    if "software" in enabled_features(target):
        used.add(SOFTWARE)
    if "subgroups" in used:
        used.add(SUBGROUPS_OF_32)
    memory = [module.workgroup_memory_bytes for module in kernels.modules.values()]
    return Package(
        name=model.name,
        entries=entries,
        params=tuple(lifted.params),
        kernels=kernels.kernels,
        wasm=wasm,
        features=tuple(feature for feature in (*FEATURES.values(), SUBGROUPS_OF_32) if feature in used),
        limits=required_limits(kernels.kernels, memory, lifted.params),
        producer={"tvm_webgpu": tvm_webgpu.__version__, "tvm": tvm.__version__},
    )


def _mark_inputs(model: Model) -> tvm.IRModule:
    """Sets `num_input`, by which TVM tells inputs, which are checked at run time, from parameters."""
    mod = model.mod
    for name, signature in model.entries.items():
        func = mod[name]
        assert isinstance(func, relax.Function)
        mod = tvm.IRModule(
            {**mod.functions, mod.get_global_var(name): func.with_attr("num_input", len(signature.inputs))},
            attrs=mod.attrs,
        )
    return mod
