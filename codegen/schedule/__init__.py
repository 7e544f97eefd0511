"""Schedules for WebGPU: `apply(target)` is a module pass from unscheduled PrimFuncs to kernels with thread bindings."""

from .apply import Scheduler, apply
from .limits import Limits

__all__ = ["Limits", "Scheduler", "apply"]
