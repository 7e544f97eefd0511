struct S1 {
  m1: array<atomic<u32>, 8>,
  m2: array<atomic<i32>, 4>,
}
@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(2) var<storage, read_write> buffer2: S1;
@group(0) @binding(1) var<storage, read_write> buffer3: array<u32>;
var<workgroup> shared_1: array<atomic<u32>, 2>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let v1 = buffer1[local_index];
  if local_index < 2u {
    atomicStore(&shared_1[local_index], 0u);
  }
  workgroupBarrier();
  atomicAdd(&buffer2.m1[0], v1);
  atomicMin(&buffer2.m1[1], v1);
  atomicMax(&buffer2.m1[2], v1);
  let t1 = 1u;
  let v2 = t1 << local_index;
  atomicAnd(&buffer2.m1[3], ~v2);
  atomicOr(&buffer2.m1[4], v2);
  atomicXor(&buffer2.m1[5], v1);
  let v3 = i32(v1) - 5i;
  atomicMin(&buffer2.m2[0], v3);
  atomicMax(&buffer2.m2[1], v3);
  atomicAdd(&shared_1[0], 1u);
  atomicMax(&shared_1[1], v1);
  workgroupBarrier();
  if local_index == 0u {
    let v4 = atomicExchange(&buffer2.m1[6], 77u);
    buffer3[8] = v4;
    let t2 = atomicLoad(&buffer2.m1[7]);
    var old1: u32;
    loop { let swap = atomicCompareExchangeWeak(&buffer2.m1[7], t2, 5u); old1 = swap.old_value; if swap.exchanged || old1 != t2 { break; } }
    buffer3[9] = old1;
    var old2: i32;
    loop { let swap_1 = atomicCompareExchangeWeak(&buffer2.m2[2], 1000000i, 6i); old2 = swap_1.old_value; if swap_1.exchanged || old2 != 1000000i { break; } }
    buffer3[10] = u32(old2);
  }
  let t3 = atomicLoad(&shared_1[0]);
  let t4 = atomicLoad(&shared_1[1]);
  buffer3[local_index] = t3 * 100u + t4;
}
