@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(1) var<storage, read_write> buffer2: array<u32>;
var<workgroup> shared_1: array<u32, 8>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  shared_1[local_index] = buffer1[local_index];
  workgroupBarrier();
  var v1 = 4u;
  loop {
    if v1 <= 0u {
      break;
    }
    if local_index < v1 {
      shared_1[local_index] += shared_1[local_index + v1];
    }
    workgroupBarrier();
    v1 = v1 >> 1u;
  }
  storageBarrier();
  buffer2[local_index] = shared_1[0];
}
