"""SPIRV-Tools: SPIR-V binaries or assembly text in; validated, optimised, assembled or disassembled modules out."""

from tvm_webgpu.spirv_tools.library import SpirvToolsError, assemble, disassemble, optimize, validate

__all__ = ["SpirvToolsError", "assemble", "disassemble", "optimize", "validate"]
