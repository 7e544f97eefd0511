"""SPIR-V to WGSL: `translate` takes any compute module and gives text that both Tint and naga accept."""

from tvm_webgpu.codegen.wgsl.interface import Binding, EntryPoint, Options, PushConstants, PushMember, Shader
from tvm_webgpu.codegen.wgsl.translator import translate

__all__ = ["Binding", "EntryPoint", "Options", "PushConstants", "PushMember", "Shader", "translate"]
