@group(0) @binding(0) var<storage> Input: array<u32>;
@group(0) @binding(1) var<storage, read_write> Output: array<u32>;
fn twice(a: ptr<function, u32>) -> u32 {
  return *a * 2u;
}
fn first(a: ptr<function, u32>, b: ptr<function, u32>) -> u32 {
  var param: u32;
  for (var k = 0u; k < 10u; k++) {
    if k * k > *a {
      *b = k;
      param = k;
      let v1 = twice(&param);
      return v1;
    }
  }
  *b = 99u;
  return 7u;
}
fn grow(a: ptr<function, u32>, by: ptr<function, u32>) {
  var param: u32;
  var param_1: u32;
  if *by == 0u {
    return;
  }
  param = *by;
  let v1 = first(&param, &param_1);
  *by = param_1;
  *a += v1;
}
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  var i: u32;
  var x: u32;
  var r: u32;
  var b: u32;
  var param: u32;
  var param_1: u32;
  var param_2: u32;
  var param_3: u32;
  i = local_index;
  x = Input[i];
  param = x;
  let v1 = first(&param, &param_1);
  b = param_1;
  r = v1;
  param_2 = r;
  param_3 = b;
  grow(&param_2, &param_3);
  r = param_2;
  Output[i] = r * 100u + b;
}
