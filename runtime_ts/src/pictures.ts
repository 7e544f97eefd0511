/** @file An image and how it is to be prepared in, a checked Picture out: what fills the tensor of an input. */
import { InputError } from "./errors.ts";
import { checked, list, object, oneOf, optional } from "./json.ts";
import type { TensorPort } from "./manifest.ts";

/** Pixels as ImageData has them: 4 bytes each, red, green, blue and alpha, row by row. The only kind that Node has. */
export interface RawImage {
  readonly data: Uint8ClampedArray | Uint8Array;
  readonly width: number;
  readonly height: number;
}

export type ImageSource =
  | RawImage | ImageBitmap | VideoFrame | HTMLImageElement | HTMLVideoElement | HTMLCanvasElement | OffscreenCanvas;

/** How an image becomes a tensor. A package may say it for its inputs; what a call says goes before that. */
export interface ImageOptions {
  /** Taken from and divided out of values between 0 and 1, by channel of the tensor. Default: 0 and 1. */
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
  /** Where the channels stand in the shape. Default: where it has an extent of 1, 3 or 4, NCHW first. */
  readonly layout?: "NCHW" | "NHWC";
  /** The order of three or four channels. One channel is the brightness. Default: RGB. */
  readonly channels?: "RGB" | "BGR";
  /**
   * How another shape of image is made to fit: `stretch` (the default) alters its proportions, `cover` cuts off what is
   * too much, `contain` leaves borders.
   */
  readonly fit?: "stretch" | "cover" | "contain";
  /** The share of width and height that is used, around the centre, such as 224 / 256. Default: 1. */
  readonly crop?: number;
  /** Average over all pixels when an image is made smaller, as Pillow does. Default: true. */
  readonly antialias?: boolean;
  /** The borders' colour between 0 and 1. Default: black. */
  readonly pad?: readonly number[];
  /** Height and width where the entry leaves them open. Default: the image's. */
  readonly size?: readonly [number, number];
}

export interface ImageInput extends ImageOptions {
  readonly image: ImageSource;
}

export interface Picture {
  readonly source: ImageSource;
  readonly width: number;
  readonly height: number;
  readonly dtype: ImageDType;
  readonly shape: readonly number[];
  readonly target: { readonly width: number; readonly height: number; readonly channels: number };
  readonly options: ImageOptions;
  readonly layout: "NCHW" | "NHWC";
}

const DTYPES = ["float32", "float16", "uint8"] as const;
export type ImageDType = (typeof DTYPES)[number];

export function isImage(input: object): input is ImageSource | ImageInput {
  return "image" in input || (!("shape" in input) && sizeOf(input) !== undefined);
}

/** @throws InputError if the image can't become a tensor of this port. */
export function pictureOf(port: TensorPort, input: ImageSource | ImageInput): Picture {
  const fail: (problem: string) => never = (problem) => {
    throw new InputError(`input "${port.name}": ${problem}`);
  };
  const { image: source, ...given } = "image" in input ? input : { image: input };
  const options: ImageOptions = { ...port.image, ...given };
  const kinds = "an ImageBitmap, VideoFrame, element, canvas or { data, width, height }";
  const size = sizeOf(source) ?? fail(`an image is ${kinds}`);
  const { width, height } = size;
  if (!(width > 0 && height > 0)) fail(`the image has no pixels (${width} x ${height}); is it loaded, and not closed?`);
  if ("data" in source && source.data.length !== 4 * width * height) {
    fail(`${width} x ${height} pixels of RGBA are ${4 * width * height} bytes, the data has ${source.data.length}`);
  }
  const dtype = DTYPES.find((name) => name === port.dtype)
    ?? fail(`images become ${DTYPES.join(", ")}, and not ${port.dtype}`);
  const dims = port.shape.length === 3 ? [1, ...port.shape] : port.shape;
  if (dims.length !== 4) fail(`an image fills a tensor of 3 or 4 dimensions, not of ${port.shape.length}`);
  if (typeof dims[0] === "number" && dims[0] !== 1) fail(`it takes ${dims[0]} images at once; give it as a tensor`);
  const layout = options.layout ?? (hasChannels(dims[1]) || !hasChannels(dims[3]) ? "NCHW" : "NHWC");
  const [c, h, w] = layout === "NCHW" ? [dims[1]!, dims[2]!, dims[3]!] : [dims[3]!, dims[1]!, dims[2]!];
  const channels = typeof c === "number" ? c : 3;
  if (!hasChannels(channels)) fail(`${channels} channels (${layout}); an image has 1, 3 or 4`);
  const [openHeight, openWidth] = options.size ?? [height, width];
  const target = {
    channels, height: typeof h === "number" ? h : openHeight, width: typeof w === "number" ? w : openWidth,
  };
  for (const name of ["mean", "std"] as const) {
    const count = options[name]?.length ?? channels;
    if (count !== channels && count !== 1) fail(`${name} has ${count} numbers for ${channels} channels`);
  }
  if (options.std?.some((value) => !(Math.abs(value) > 0))) fail("std must not hold 0");
  const crop = options.crop ?? 1;
  if (!(crop > 0 && crop <= 1)) fail(`crop must be above 0 and at most 1, not ${crop}`);
  const area = [target.height, target.width];
  const full = layout === "NCHW" ? [1, channels, ...area] : [1, ...area, channels];
  const shape = port.shape.length === 3 ? full.slice(1) : full;
  return { source, width, height, dtype, shape, target, options, layout };
}

/** The rectangle of the image that is used, and the one of the tensor that it fills: x, y, width, height in pixels. */
export function placement({ width, height, target, options }: Picture): { from: number[]; to: number[] } {
  const { fit = "stretch", crop = 1 } = options;
  const scales = [target.width / width, target.height / height] as const;
  const pick = fit === "cover" ? Math.max(...scales) : Math.min(...scales);
  const [sx, sy] = fit === "stretch" ? scales : [pick, pick];
  // What is visible of the image, and how large that is in the tensor.
  const used = [Math.min(width, target.width / sx), Math.min(height, target.height / sy)] as const;
  const whole = (extent: number, most: number): number => Math.min(most, Math.max(1, Math.round(extent)));
  const filled = [whole(width * sx, target.width), whole(height * sy, target.height)] as const;
  const cut = [used[0] * crop, used[1] * crop] as const;
  return {
    from: [(width - cut[0]) / 2, (height - cut[1]) / 2, ...cut],
    to: [(target.width - filled[0]) >> 1, (target.height - filled[1]) >> 1, ...filled],
  };
}

function hasChannels(extent: number | string | undefined): boolean {
  return extent === 1 || extent === 3 || extent === 4;
}

/** Each kind of source has its own names for its size in pixels. */
const SIZES = [["displayWidth", "displayHeight"], ["videoWidth", "videoHeight"], ["naturalWidth", "naturalHeight"],
  ["width", "height"]] as const;

function sizeOf(source: object): { width: number; height: number } | undefined {
  const fields = source as Partial<Record<string, unknown>>;
  for (const [w, h] of SIZES) {
    const [width, height] = [fields[w], fields[h]];
    if (typeof width === "number" && typeof height === "number") return { width, height };
  }
  return undefined;
}

const real = checked<number>((value) => typeof value === "number", "must be a number");
const reals = optional(list(real));

/** A package's own options for images (docs/architecture.md, "Package"). */
export const imageOptions = object<Omit<ImageOptions, "size">>({
  mean: reals, std: reals, pad: reals, crop: optional(real), antialias: optional(oneOf(true, false)),
  layout: optional(oneOf("NCHW", "NHWC")), channels: optional(oneOf("RGB", "BGR")),
  fit: optional(oneOf("stretch", "cover", "contain")),
});
