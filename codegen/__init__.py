"""Code generation: TIR in; SPIR-V, WGSL and wasm32 out. Each folder stands alone."""
