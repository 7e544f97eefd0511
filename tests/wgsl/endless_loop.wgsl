@group(0) @binding(0) var<storage, read_write> buffer: array<u32>;
fn f1(p1: u32) -> u32 {
  if p1 == 0u {
    return 7u;
  }
  loop {
    if false { break; }
  }
  return 0u;
}
@compute @workgroup_size(1)
fn main() {
  let v1 = f1(buffer[0]);
  buffer[0] = v1;
}
