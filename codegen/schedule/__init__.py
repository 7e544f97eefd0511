"""Schedules for WebGPU: `apply(target)` is a module pass from unscheduled PrimFuncs to kernels with thread bindings."""

from .apply import Scheduler, apply
from .joints import JOINTS, Joint
from .limits import Limits
from .pooled import can_pool
from .signature import signature
from .typical import ATTRIBUTE as TYPICAL_SIZES

__all__ = ["JOINTS", "TYPICAL_SIZES", "Joint", "Limits", "Scheduler", "apply", "can_pool", "signature"]
