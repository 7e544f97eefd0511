// OpSelect at word 60: a pointer that is computed at run time; WGSL has no variable pointers
