"""From a model to a package: front ends, graph passes, code generation for kernels and host, packing."""
