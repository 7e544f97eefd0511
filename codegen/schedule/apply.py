"""The module pass of this folder: an IRModule with unscheduled PrimFuncs in, the same scheduled for WebGPU out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import tirx
from tvm.target import Target
from tvm_webgpu.errors import UnsupportedError

from . import attention, direct, opaque, planes, pooled, rows, rule_product, start, transpose, windowed, windows
from .blocks import PRIMITIVE_ERRORS, NotApplicable
from .limits import Limits
from .verify import verify

# Without this an error raised inside a pass comes out of TVM as a RuntimeError.
tvm_ffi.register_error("UnsupportedError", UnsupportedError)

LOG = logging.getLogger(__name__)

Rule = Callable[[tirx.PrimFunc, Limits], tirx.PrimFunc]

# Tried in this order; the first whose result passes `verify` wins. The last two fit everything.
RULES: tuple[tuple[str, Rule], ...] = (
    ("start", start.schedule),
    ("product", rule_product.schedule),
    ("pooled", pooled.schedule),
    ("planes", planes.schedule),
    ("windowed", windowed.schedule),
    ("attention", attention.schedule),
    ("rows", rows.schedule),
    ("windows", windows.schedule),
    ("transpose", transpose.schedule),
    ("direct", direct.schedule),
    ("opaque", opaque.schedule),
)


def apply(target: Target) -> tvm.transform.Pass:
    """A pass that schedules every PrimFunc without `tirx.is_scheduled`, within the target's limits.

    The rule that was used is left in the attribute `tvm_webgpu.schedule`. Raises UnsupportedError, naming the
    function, where no rule gives a valid kernel.
    """
    scheduler = Scheduler(Limits.of(target))

    @tvm.transform.module_pass(opt_level=0, name="ScheduleForWebGPU")
    def transform(mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        updated = {gvar: scheduler(func, gvar.name_hint) for gvar, func in mod.functions_items() if _wants(func)}
        out = mod.clone() if hasattr(mod, "clone") else tvm.IRModule(mod.functions, attrs=mod.attrs)
        for gvar, func in updated.items():
            out[gvar] = func
        return out

    return transform


def _wants(func: tvm.ir.BaseFunc) -> bool:
    return isinstance(func, tirx.PrimFunc) and not func.attrs.get("tirx.is_scheduled", False)


@dataclass(frozen=True)
class Scheduled:
    """A scheduled function, and the same lowered to flat loops over flat buffers."""

    func: tirx.PrimFunc
    flat: tirx.PrimFunc


class Scheduler:
    """Schedules single PrimFuncs for fixed limits; equal functions are scheduled once."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._done: dict[int, list[tuple[tirx.PrimFunc, Scheduled]]] = {}

    def flat(self, func: tirx.PrimFunc, name: str) -> tirx.PrimFunc:
        """`func` scheduled and lowered to flat loops, with its attributes. Raises UnsupportedError."""
        attrs = {key: value for key, value in func.attrs.items() if key != "global_symbol"} if func.attrs else {}
        return self._known(func, name).flat.with_attr({**attrs, "global_symbol": name})

    def __call__(self, func: tirx.PrimFunc, name: str) -> tirx.PrimFunc:
        """The scheduled form of `func`; `name` is only for messages. Raises UnsupportedError."""
        return self._known(func, name).func

    def _known(self, func: tirx.PrimFunc, name: str) -> Scheduled:
        entries = self._done.setdefault(tvm_ffi.structural_hash(func, map_free_vars=True), [])
        for known, scheduled in entries:
            if tvm_ffi.structural_equal(known, func, map_free_vars=True):
                return scheduled
        scheduled = self._schedule(func, name)
        entries.append((func, scheduled))
        return scheduled

    def _schedule(self, func: tirx.PrimFunc, name: str) -> Scheduled:
        reasons = []
        for rule_name, rule in RULES:
            try:
                scheduled = rule(func, self.limits)
                flat = verify(scheduled, self.limits)
            except (NotApplicable, *PRIMITIVE_ERRORS) as error:
                reasons.append(f"{rule_name}: {_last_line(error)}")
                continue
            LOG.debug("%s: %s", name, rule_name)
            marks = {"tirx.is_scheduled": True, "tvm_webgpu.schedule": rule_name}
            return Scheduled(scheduled.with_attr(marks), flat.with_attr(marks))
        raise UnsupportedError(f"no WebGPU schedule for `{name}`: {'; '.join(reasons)}")


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
