@group(0) @binding(0) var<storage> Input: array<u32>;
@group(0) @binding(1) var<storage, read_write> Output: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  var i: u32;
  var x: u32;
  var t: array<u32, 9>;
  i = local_index;
  x = Input[i];
  for (var k = 0u; k < 9u; k++) {
    t[k] = k * x;
  }
  let t1 = 1.5f;
  Output[i] = t[x % 9u] + 4294967294u + 20u + u32(t1 * 4f);
}
