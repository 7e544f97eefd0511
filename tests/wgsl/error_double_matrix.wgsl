// OpVariable at word 48: a value of type matrix of 2 columns, each a vector of 2 float64: WGSL has no such type
