// OpVariable at word 40: a value of type float64: WGSL has no such type
