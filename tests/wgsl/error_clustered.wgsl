// OpGroupNonUniformIAdd at word 59: WGSL has no such scan or clustered reduction of a subgroup
