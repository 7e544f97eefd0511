/** @file Pictures in, tensors in device buffers out: uploaded, resized and normalised on the GPU by two kernels. */
import { inBrowser } from "./browser.ts";
import { unshared, type Block } from "./buffers.ts";
import type { Commands } from "./commands.ts";
import { USAGE } from "./device.ts";
import { product } from "./dtype.ts";
import { InputError, messageOf } from "./errors.ts";
import { placement, type ImageDType, type ImageSource, type Picture, type RawImage } from "./pictures.ts";
import { bindGroup, launchOver, overWords } from "./words.ts";

const TEXTURE_USAGE = 0x02 | 0x04 | 0x10; // COPY_DST, TEXTURE_BINDING, RENDER_ATTACHMENT, which browsers' copies need

const SHADER = /* wgsl */ `
struct Job {
  source: vec4f, place: vec4f, scale: vec4f, bias: vec4f, pad: vec4f,
  size: vec2u, channels: u32, words: u32,
  channels_last: u32, reversed: u32, antialias: u32, unused: u32,
}
@group(0) @binding(0) var<uniform> job: Job;
@group(0) @binding(1) var<storage, read_write> pixels: array<vec4f>;
@group(0) @binding(2) var image: texture_2d<f32>;
@group(0) @binding(3) var<storage, read_write> tensor: array<u32>;

fn resized(index: u32) -> vec4f {
  let id = vec2u(index % job.size.x, index / job.size.x);
  let at = vec2f(id) + 0.5 - job.place.xy;
  if (any(at < vec2f()) || any(at > job.place.zw)) { return job.pad; }
  let ratio = job.source.zw / job.place.zw;
  let reach = select(vec2f(1), max(ratio, vec2f(1)), job.antialias != 0);
  let centre = job.source.xy + at * ratio;
  let first = vec2i(max(floor(centre - reach), vec2f()));
  let end = min(vec2i(ceil(centre + reach)), vec2i(textureDimensions(image)));
  var sum = vec4f();
  var total = 0.0;
  for (var y = first.y; y < end.y; y++) {
    for (var x = first.x; x < end.x; x++) {
      let near = max(1 - abs(vec2f(f32(x), f32(y)) + 0.5 - centre) / reach, vec2f());
      let weight = near.x * near.y;
      sum += weight * textureLoad(image, vec2i(x, y), 0);
      total += weight;
    }
  }
  return sum / total;
}

fn element(i: u32) -> f32 {
  let area = job.size.x * job.size.y;
  if (i >= area * job.channels) { return 0; }
  let last = job.channels_last != 0;
  let channel = select(i / area, i % job.channels, last);
  let pixel = pixels[select(i % area, i / job.channels, last)];
  var value = dot(pixel.rgb, vec3f(0.299, 0.587, 0.114));
  if (job.channels > 1) { value = pixel[select(channel, 2 - channel, job.reversed != 0 && channel < 3)]; }
  return value * job.scale[channel] + job.bias[channel];
}
`;

/** A triangle filter around each pixel's centre; wider than a pixel of the image where that is made smaller. */
const RESIZE = SHADER + overWords("job.size.x * job.size.y", "pixels[i] = resized(i);");

const pack = (word: string): string => SHADER + overWords("job.words", `tensor[i] = ${word};`);

/** Elements in a word of the tensor, and the shader that writes it. */
const PACK: Readonly<Record<ImageDType, readonly [number, string]>> = {
  float32: [1, pack("bitcast<u32>(element(i))")],
  float16: [2, pack("pack2x16float(vec2f(element(2 * i), element(2 * i + 1)))")],
  uint8: [4, pack("pack4x8unorm(vec4f(element(4 * i), element(4 * i + 1), element(4 * i + 2), element(4 * i + 3)))")],
};
const JOB_BYTES = 112;

export class ImageWriter {
  readonly #device: GPUDevice;
  readonly #pipelines = new Map<string, GPUComputePipeline>();
  #job: GPUBuffer | undefined;
  #pixels: GPUBuffer | undefined;
  #texture: GPUTexture | undefined;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Device memory held for the next picture. */
  get bytes(): number {
    const { width = 0, height = 0 } = this.#texture ?? {};
    return (this.#pixels?.size ?? 0) + 4 * width * height;
  }

  /** Fills `target` with the picture's tensor, after all that was encoded before. @throws InputError */
  write(commands: Commands, picture: Picture, target: Block): void {
    commands.submit(); // what is encoded may read the texture and the job
    const texture = this.#upload(picture);
    const { width, height } = picture.target;
    const [elements, packing] = PACK[picture.dtype];
    const words = Math.ceil(product(picture.shape) / elements);
    this.#job ??= this.#device.createBuffer({ size: JOB_BYTES, usage: USAGE.UNIFORM | USAGE.COPY_DST });
    this.#device.queue.writeBuffer(this.#job, 0, describe(picture, words));
    const size = 16 * width * height;
    if (!this.#pixels || this.#pixels.size < size) {
      this.#pixels?.destroy();
      this.#pixels = this.#device.createBuffer({ size, usage: USAGE.STORAGE });
    }
    const [job, pixels] = [{ buffer: this.#job }, { buffer: this.#pixels }];
    const tensor = { buffer: target.buffer, offset: target.offset, size: target.size };
    commands.custom((pass) => {
      this.#launch(pass, RESIZE, width * height, [job, pixels, texture.createView()]);
      this.#launch(pass, packing, words, [job, pixels, undefined, tensor]);
    });
  }

  destroy(): void {
    for (const resource of [this.#job, this.#pixels, this.#texture]) resource?.destroy();
    this.#job = this.#pixels = this.#texture = undefined;
  }

  #upload({ source, width, height }: Picture): GPUTexture {
    const { queue, limits } = this.#device;
    const most = limits.maxTextureDimension2D;
    if (Math.max(width, height) > most) {
      throw new InputError(`an image of ${width} x ${height} pixels; this device takes at most ${most} a side`);
    }
    if (this.#texture?.width !== width || this.#texture.height !== height) {
      this.#texture?.destroy();
      this.#texture = this.#device.createTexture({ size: [width, height], format: "rgba8unorm", usage: TEXTURE_USAGE });
    }
    const texture = this.#texture;
    if ("data" in source) {
      const data = unshared(source.data as Uint8Array<ArrayBuffer>);
      queue.writeTexture({ texture }, data, { bytesPerRow: 4 * width }, [width, height]);
      return texture;
    }
    // Dawn for Node has the method, and no images for it.
    if (!inBrowser()) {
      throw new InputError("outside of browsers an image is { data, width, height }, 4 bytes a pixel");
    }
    const copy = (image: GPUCopyExternalImageSource): void => {
      queue.copyExternalImageToTexture({ source: image }, { texture }, [width, height]);
    };
    try {
      copy(source);
    } catch (error) {
      // Some browsers hand video frames to a canvas only, where the GPU is not the one that decodes them.
      try {
        copy(drawn(source, width, height));
      } catch {
        throw new InputError(`the browser does not hand this image's pixels out: ${messageOf(error)}`);
      }
    }
    return texture;
  }

  #launch(pass: GPUComputePassEncoder, code: string, words: number, resources: Parameters<typeof bindGroup>[2]): void {
    let pipeline = this.#pipelines.get(code);
    if (!pipeline) {
      const module = this.#device.createShaderModule({ label: "image", code });
      pipeline = this.#device.createComputePipeline({ label: "image", layout: "auto", compute: { module } });
      this.#pipelines.set(code, pipeline);
    }
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup(this.#device, pipeline.getBindGroupLayout(0), resources));
    launchOver(pass, this.#device, words);
  }
}

function drawn(source: Exclude<ImageSource, RawImage>, width: number, height: number): OffscreenCanvas {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d")!.drawImage(source, 0, 0, width, height);
  return canvas;
}

/** The Job of the shader. */
function describe(picture: Picture, words: number): ArrayBuffer {
  const { options, target, layout } = picture;
  const { from, to } = placement(picture);
  const four = (values: readonly number[], rest: number): number[] =>
    Array.from({ length: 4 }, (_, i) => (values.length === 1 ? values[0]! : (values[i] ?? rest)));
  const std = four(options.std ?? [], 1);
  const mean = four(options.mean ?? [], 0);
  const job = new ArrayBuffer(JOB_BYTES);
  new Float32Array(job).set([
    ...from, ...to, ...std.map((value) => 1 / value), ...mean.map((value, i) => -value / std[i]!),
    ...four(options.pad ?? [0, 0, 0], 1),
  ]);
  new Uint32Array(job, 80).set([
    target.width, target.height, target.channels, words,
    Number(layout === "NHWC"), Number(options.channels === "BGR"), Number(options.antialias ?? true), 0,
  ]);
  return job;
}
