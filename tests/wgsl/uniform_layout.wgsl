struct S1 {
  m1: vec3f,
  m2: f32,
  m3: vec2f,
}
@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(4) var<storage, read_write> buffer2: array<u32>;
@group(0) @binding(2) var<uniform> buffer3: array<vec4u, 5>;
@group(0) @binding(3) var<storage, read_write> buffer4: array<u32>;
@group(0) @binding(1) var<storage, read_write> buffer5: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let v1 = S1(vec3f(bitcast<f32>(buffer2[(local_index & 3u) * 6u]), bitcast<f32>(buffer2[(local_index & 3u) * 6u + 1u]), bitcast<f32>(buffer2[(local_index & 3u) * 6u + 2u])), bitcast<f32>(buffer2[(local_index & 3u) * 6u + 3u]), vec2f(bitcast<f32>(buffer2[(local_index & 3u) * 6u + 4u]), bitcast<f32>(buffer2[(local_index & 3u) * 6u + 5u])));
  workgroupBarrier();
  let v2 = buffer1[local_index];
  let v3 = v1.m1 + bitcast<vec3f>(buffer3[2u].xyz);
  if local_index < 4u {
    buffer2[local_index * 6u] = bitcast<u32>(v3.x);
    buffer2[local_index * 6u + 1u] = bitcast<u32>(v3.y);
    buffer2[local_index * 6u + 2u] = bitcast<u32>(v3.z);
    buffer2[local_index * 6u + 3u] = bitcast<u32>(v1.m2);
    buffer2[local_index * 6u + 4u] = bitcast<u32>(v1.m3.yx.x);
    buffer2[local_index * 6u + 5u] = bitcast<u32>(v1.m3.yx.y);
    let v4 = local_index & 1u;
    let t1 = v4 * 4u + 44u;
    let t2 = v4 * 4u + 52u;
    let t3 = v4 * 4u + 60u;
    let v5 = vec3f(bitcast<f32>(buffer3[t1 >> 4u][(t1 >> 2u) & 3u]), bitcast<f32>(buffer3[t2 >> 4u][(t2 >> 2u) & 3u]), bitcast<f32>(buffer3[t3 >> 4u][(t3 >> 2u) & 3u]));
    buffer4[local_index * 6u + 1u] = bitcast<u32>(v5.xy.x);
    buffer4[local_index * 6u + 4u] = bitcast<u32>(v5.xy.y);
    let t4 = local_index * 4u;
    let t5 = bitcast<f32>(buffer3[t4 >> 4u][(t4 >> 2u) & 3u]);
    buffer4[local_index * 6u + v4 * 3u + 2u] = bitcast<u32>(t5);
  }
  let t6 = v2 % 5u * 4u;
  buffer5[local_index] = u32(bitcast<f32>(buffer3[t6 >> 4u][(t6 >> 2u) & 3u]) + bitcast<f32>(buffer3[4u].x) + f32(i32(arrayLength(&buffer4) / 6u)));
}
