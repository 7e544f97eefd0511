// OpVariable at word 55: an atomic operation on uint64: WGSL has atomics of i32 and u32 only
