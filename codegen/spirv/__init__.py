"""TIR device functions in; SPIR-V 1.3 compute modules (Vulkan 1.1 rules) and their launch descriptions out.

`lower` prepares a module of device functions, `emit` makes one kernel. The rule that turns the host's call arguments
into a dispatch stands in `launch`.
"""

from tvm_webgpu.codegen.spirv.emitter import emit
from tvm_webgpu.codegen.spirv.launch import Binding, KernelModule, Scalar, fold
from tvm_webgpu.codegen.spirv.limits import Limits
from tvm_webgpu.codegen.spirv.lower import lower
from tvm_webgpu.codegen.spirv.scan import LARGEST_SCALARS
from tvm_webgpu.errors import UnsupportedError

__all__ = [
    "LARGEST_SCALARS", "Binding", "KernelModule", "Limits", "Scalar", "UnsupportedError", "emit", "fold", "lower",
]  # fmt: skip
