/** @file Parameters as they are stored in, parameters as kernels read them out, decoded on the GPU. */
import { padded } from "./buffers.ts";
import { guarded, USAGE } from "./device.ts";
import { product } from "./dtype.ts";
import { PackageError } from "./errors.ts";
import { tensorBytes, type Param } from "./manifest.ts";
import { bindGroup, launchOver, overWords } from "./words.ts";

/** Extents that `scale` can tell apart; neighbours that are scaled alike count as one. */
const RANK = 4;

const WGSL = /* wgsl */ `
struct Info { shape: vec4u, strides: vec4u, words: u32 }
@group(0) @binding(0) var<storage, read> values: array<u32>;
@group(0) @binding(1) var<uniform> info: Info;
@group(0) @binding(2) var<storage, read_write> result: array<u32>;
@group(0) @binding(3) var<storage, read> scales: array<f32>;

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
`;

/**
 * For each word of the stored values: elements come two or four to a word, and leave as f32 or, two to a word, as f16.
 * No device needs a feature for it.
 */
const BODIES: Readonly<Record<string, string>> = {
  float16_float32: /* wgsl */ `
    let two = bitcast<vec2u>(unpack2x16float(values[i]));
    result[2 * i] = two.x;
    result[2 * i + 1] = two.y;`,
  int8_float32: /* wgsl */ `
    let four = bitcast<vec4u>(scaled(i));
    for (var j = 0u; j < 4; j++) { result[4 * i + j] = four[j]; }`,
  int8_float16: /* wgsl */ `
    let four = scaled(i);
    result[2 * i] = pack2x16float(four.xy);
    result[2 * i + 1] = pack2x16float(four.zw);`,
};

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
  readonly #pipelines: Promise<Map<string, GPUComputePipeline>>;

  /** Starts to compile what these parameters need. */
  constructor(device: GPUDevice, params: readonly Param[]) {
    this.#device = device;
    const names = [...new Set(params.filter(({ storage }) => storage).map(kindOf))];
    this.#pipelines = Promise.all(names.map(async (label) => {
      const module = device.createShaderModule({ label, code: WGSL + overWords("info.words", BODIES[label]!) });
      return [label, await device.createComputePipelineAsync({ label, layout: "auto", compute: { module } })] as const;
    })).then((made) => new Map(made));
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
        const info = device.createBuffer({ size: 48, usage: USAGE.UNIFORM | USAGE.COPY_DST });
        infos.push(info);
        device.queue.writeBuffer(info, 0, Uint32Array.of(...scaling(param), words));
        const pipeline = pipelines.get(kindOf(param))!;
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, bindGroup(device, pipeline.getBindGroupLayout(0), [
          { buffer: source, size: words * 4 },
          { buffer: info },
          { buffer: target, offset: targetAt, size: padded(tensorBytes(param)) },
          param.storage!.scales && { buffer: source, offset: scalesAt },
        ]));
        launchOver(pass, device, words);
      }
      pass.end();
      device.queue.submit([encoder.finish()]);
    });
    await checked;
    for (const info of infos) info.destroy();
  }
}

function kindOf({ storage, dtype }: Param): string {
  return `${storage!.dtype}_${dtype}`;
}

/** The shape, with neighbours that are scaled alike as one, and the scales' strides: four and four numbers. */
function scaling({ name, shape, storage }: Param): number[] {
  const scales = storage?.scales;
  if (!scales) return Array.from({ length: 2 * RANK }, () => 1);
  const dims: { extent: number; scaled: boolean }[] = [];
  shape.forEach((extent, i) => {
    if (extent === 1) return;
    const scaled = scales.shape[i] !== 1;
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
