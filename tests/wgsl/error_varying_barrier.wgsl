// OpControlBarrier at word 328: a barrier that, as far as WGSL can see, not all invocations of a workgroup reach; branch around it by uniform values only
