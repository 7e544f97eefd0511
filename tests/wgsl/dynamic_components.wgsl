@group(0) @binding(1) var<storage, read_write> O: array<u32>;
@group(0) @binding(0) var<storage> I: array<vec4u>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_id) local_id: vec3u) {
  var g: u32;
  g = local_id.x;
  let v1 = (I[0] + I[1])[g & 3u];
  let v2 = I[1] - I[0];
  let v3 = (g + 1u) & 3u;
  var v4 = v2;
  v4[v3] = v1;
  O[g] = v1 * 100u + (v2[v3] + v4[v3]);
}
