/** @file Parameters as they are stored in, parameters as kernels read them out, decoded on the GPU. */
import { padded } from "./buffers.ts";
import { guarded, STAGE_COMPUTE, USAGE } from "./device.ts";
import { product } from "./dtype.ts";
import { PackageError } from "./errors.ts";
import { tensorBytes, type Param } from "./manifest.ts";

const WIDTH = 256;
/** Extents that `scale` can tell apart; neighbours that are scaled alike count as one. */
const RANK = 4;

// One invocation for each word of the stored values. Elements come two or four to a word and leave as f32 or, two to a
// word, as f16, so that no device needs a feature for it.
const WGSL = /* wgsl */ `
struct Info { shape: vec4u, strides: vec4u, words: u32, row: u32 }
@group(0) @binding(0) var<storage, read> values: array<u32>;
@group(0) @binding(1) var<storage, read> scales: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<u32>;
@group(0) @binding(3) var<uniform> info: Info;

fn scale(element: u32) -> f32 {
  var rest = element;
  var at = 0u;
  for (var d = 3; d >= 0; d--) {
    at += (rest % info.shape[d]) * info.strides[d];
    rest /= info.shape[d];
  }
  return scales[at];
}

fn scaled(word: u32) -> vec4f {
  let e = 4 * word;
  let four = vec4i(vec4u(values[word]) << vec4u(24, 16, 8, 0)) >> vec4u(24);
  return vec4f(four) * vec4f(scale(e), scale(e + 1), scale(e + 2), scale(e + 3));
}

@compute @workgroup_size(${WIDTH}) fn float16_float32(@builtin(global_invocation_id) id: vec3u) {
  let word = id.y * info.row + id.x;
  if (word >= info.words) { return; }
  let two = bitcast<vec2u>(unpack2x16float(values[word]));
  result[2 * word] = two.x;
  result[2 * word + 1] = two.y;
}

@compute @workgroup_size(${WIDTH}) fn int8_float32(@builtin(global_invocation_id) id: vec3u) {
  let word = id.y * info.row + id.x;
  if (word >= info.words) { return; }
  let four = bitcast<vec4u>(scaled(word));
  for (var i = 0u; i < 4; i++) { result[4 * word + i] = four[i]; }
}

@compute @workgroup_size(${WIDTH}) fn int8_float16(@builtin(global_invocation_id) id: vec3u) {
  let word = id.y * info.row + id.x;
  if (word >= info.words) { return; }
  let four = scaled(word);
  result[2 * word] = pack2x16float(four.xy);
  result[2 * word + 1] = pack2x16float(four.zw);
}
`;

export interface Decoding {
  readonly param: Param;
  /** The stored bytes, and behind them, from `scalesAt` on, the scales. */
  readonly source: GPUBuffer;
  readonly scalesAt: number;
  readonly target: GPUBuffer;
  readonly targetAt: number;
}

export class Decoder {
  readonly #device: GPUDevice;
  readonly #layout: GPUBindGroupLayout;
  readonly #pipelines: Promise<Map<string, GPUComputePipeline>>;

  /** Starts to compile what these parameters need. */
  constructor(device: GPUDevice, params: readonly Param[]) {
    this.#device = device;
    const buffers: GPUBufferBindingLayout[] = [
      { type: "read-only-storage" }, { type: "read-only-storage" }, { type: "storage" }, { type: "uniform" }];
    this.#layout = device.createBindGroupLayout({
      entries: buffers.map((buffer, binding) => ({ binding, visibility: STAGE_COMPUTE, buffer })),
    });
    const layout = device.createPipelineLayout({ bindGroupLayouts: [this.#layout] });
    const module = device.createShaderModule({ label: "decode", code: WGSL });
    const names = [...new Set(params.filter(({ storage }) => storage).map(entryPoint))];
    this.#pipelines = Promise.all(names.map(async (name) => [
      name, await device.createComputePipelineAsync({ label: name, layout, compute: { module, entryPoint: name } }),
    ] as const)).then((made) => new Map(made));
    this.#pipelines.catch(() => undefined); // told where it is waited for
  }

  /** Resolves when all is done; only then may the sources be destroyed. */
  async run(decodings: readonly Decoding[]): Promise<void> {
    const pipelines = await this.#pipelines;
    const device = this.#device;
    const infos: GPUBuffer[] = [];
    const { checked } = guarded(device, "decoding parameters", () => {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (const decoding of decodings) {
        const { param, source, scalesAt, target, targetAt } = decoding;
        const words = Math.ceil(param.bytes / 4);
        if (words === 0) continue;
        const groups = Math.ceil(words / WIDTH);
        const columns = Math.min(groups, device.limits.maxComputeWorkgroupsPerDimension);
        const info = device.createBuffer({ size: 48, usage: USAGE.UNIFORM | USAGE.COPY_DST });
        infos.push(info);
        device.queue.writeBuffer(info, 0, Uint32Array.of(...scaling(param), words, columns * WIDTH));
        const resources: GPUBufferBinding[] = [
          { buffer: source, size: Math.max(4, words * 4) },
          scalesAt < source.size ? { buffer: source, offset: scalesAt } : { buffer: source },
          { buffer: target, offset: targetAt, size: padded(tensorBytes(param)) },
          { buffer: info },
        ];
        pass.setPipeline(pipelines.get(entryPoint(param))!);
        pass.setBindGroup(0, device.createBindGroup({
          layout: this.#layout, entries: resources.map((resource, binding) => ({ binding, resource })),
        }));
        pass.dispatchWorkgroups(columns, Math.ceil(groups / columns));
      }
      pass.end();
      device.queue.submit([encoder.finish()]);
    });
    await checked;
    for (const info of infos) info.destroy();
  }
}

function entryPoint({ storage, dtype }: Param): string {
  return `${storage!.dtype}_${dtype}`;
}

/** The shape, with neighbours that are scaled alike as one, and the scales' strides: four and four numbers. */
function scaling({ name, shape, storage }: Param): number[] {
  if (storage?.dtype !== "int8") return Array.from({ length: 2 * RANK }, () => 1);
  const dims: { extent: number; scaled: boolean }[] = [];
  shape.forEach((extent, i) => {
    if (extent === 1) return;
    const scaled = storage.scales.shape[i] !== 1;
    const last = dims.at(-1);
    if (last?.scaled === scaled) last.extent *= extent;
    else dims.push({ extent, scaled });
  });
  if (dims.length > RANK) throw new PackageError(`parameter "${name}" has scales along too many axes`);
  while (dims.length < RANK) dims.unshift({ extent: 1, scaled: false });
  const strides = dims.map(({ scaled }, i) => (
    scaled ? product(dims.slice(i + 1).map((dim) => (dim.scaled ? dim.extent : 1))) : 0));
  return [...dims.map(({ extent }) => extent), ...strides];
}
