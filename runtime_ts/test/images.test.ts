/** @file Images as inputs: resized and normalised on the GPU as a plain loop over the pixels, and Pillow, have it. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { loadModel, type Entry, type ImageOptions, type Model, type RawImage } from "../src/index.ts";
import { adapter, alteredPackage, cleanUp, gpu, rejects } from "./support.ts";

/** 7 x 6 pixels, and what Pillow 12 makes of them (Image.resize, BILINEAR) at 3 x 2 and, its first row, at 9 x 8. */
const SAMPLE = image(7, 6, [
  248, 194, 190, 147, 26, 237, 245, 211, 239, 5, 157, 159, 54, 236, 109, 199, 82, 32, 36, 7, 134, 57, 146, 8, 14, 15,
  22, 144, 208, 24, 7, 41, 11, 59, 104, 225, 226, 201, 8, 26, 27, 163, 33, 41, 201, 70, 166, 228, 50, 179, 0, 137, 63,
  13, 255, 64, 94, 8, 156, 25, 157, 146, 190, 219, 135, 39, 237, 127, 72, 168, 21, 73, 16, 153, 140, 80, 163, 61, 47,
  229, 148, 97, 110, 56, 74, 193, 62, 238, 239, 226, 14, 205, 185, 73, 238, 205, 160, 110, 68, 79, 104, 193, 88, 197,
  234, 148, 48, 7, 149, 40, 126, 40, 54, 59, 13, 153, 135, 59, 191, 239, 193, 154, 82, 115, 167, 97,
]);
const PILLOW_3X2 = [112, 115, 112, 91, 124, 88, 110, 121, 99, 141, 134, 113, 83, 150, 129, 104, 154, 135];
const PILLOW_9X8_ROW = [
  248, 194, 190, 181, 82, 221, 191, 108, 238, 192, 199, 221, 5, 157, 159, 43, 218, 120, 135, 150, 66, 145, 57, 66, 36,
  7, 134,
];

function image(width: number, height: number, rgb: readonly number[]): RawImage {
  const data = new Uint8ClampedArray(4 * width * height);
  for (let i = 0; i < width * height; i++) data.set([rgb[3 * i]!, rgb[3 * i + 1]!, rgb[3 * i + 2]!, 255], 4 * i);
  return { data, width, height };
}

/** A model that gives its input back; it is of this dtype and shape. */
async function echo(dtype: string, shape: (number | string)[], defaults?: ImageOptions): Promise<Model> {
  const folder = await alteredPackage((manifest) => {
    const entry = (manifest.entries as Entry[]).find(({ name }) => name === "identity")!;
    Object.assign(entry.inputs[0]!, { dtype, shape, ...(defaults ? { image: defaults } : {}) });
    Object.assign(entry.outputs[0]!, { dtype, shape });
  });
  return loadModel(folder, { gpu });
}

async function tensorOf(model: Model, x: RawImage | (ImageOptions & { image: RawImage })): Promise<number[]> {
  const { x: result } = await model.run({ x }, { entry: "identity" });
  const { data, shape } = result!;
  shapes.push([...shape]);
  return Array.from(data as Float32Array);
}
const shapes: number[][] = [];

/** The triangle filter, pixel by pixel: [row][column][channel] between 0 and 1. */
function resized({ data, width, height }: RawImage, w: number, h: number, antialias: boolean): number[][][] {
  const taps = (at: number, size: number, target: number): [number, number][] => {
    const ratio = size / target;
    const reach = antialias ? Math.max(1, ratio) : 1;
    const all = Array.from({ length: size }, (_, i): [number, number] =>
      [i, Math.max(0, 1 - Math.abs(i + 0.5 - (at + 0.5) * ratio) / reach)]);
    const total = all.reduce((sum, [, weight]) => sum + weight, 0);
    return all.map(([i, weight]) => [i, weight / total]);
  };
  return Array.from({ length: h }, (_, y) => Array.from({ length: w }, (_, x) => [0, 1, 2].map((c) => {
    let sum = 0;
    for (const [row, down] of taps(y, height, h)) {
      for (const [column, across] of taps(x, width, w)) sum += down * across * data[4 * (row * width + column) + c]!;
    }
    return sum / 255;
  })));
}

function close(actual: readonly number[], wanted: readonly number[], tolerance: number): void {
  assert.equal(actual.length, wanted.length);
  actual.forEach((value, i) => {
    assert.ok(Math.abs(value - wanted[i]!) <= tolerance, `[${i}]: ${value}, expected ${wanted[i]}`);
  });
}

const planes = (pixels: number[][][]): number[] => [0, 1, 2].flatMap((c) => pixels.flat().map((pixel) => pixel[c]!));
const MODELS: Model[] = [];
const model = async (...how: Parameters<typeof echo>): Promise<Model> => {
  MODELS.push(await echo(...how));
  return MODELS.at(-1)!;
};

describe("an image", () => {
  let nchw: Model;
  before(async () => { nchw = await model("float32", ["batch", 3, "h", "w"]); });
  after(async () => {
    for (const each of MODELS) each.dispose();
    await cleanUp();
  });

  test("of the right size goes in as it is", async () => {
    close(await tensorOf(nchw, SAMPLE), planes(resized(SAMPLE, 7, 6, true)), 1e-6);
    assert.deepEqual(shapes.at(-1), [1, 3, 6, 7]);
  });

  test("may lie in memory that workers share", async () => {
    const data = new Uint8ClampedArray(new SharedArrayBuffer(SAMPLE.data.length));
    data.set(SAMPLE.data);
    close(await tensorOf(nchw, { ...SAMPLE, data }), planes(resized(SAMPLE, 7, 6, true)), 1e-6);
  });

  test("is resized as Pillow does, smaller and larger", async () => {
    const rows = (values: number[], count: number): number[] =>
      Array.from({ length: 3 * count }, (_, i) => 255 * values[(i % 3) * (values.length / 3) + Math.floor(i / 3)]!);
    close(rows(await tensorOf(nchw, { image: SAMPLE, size: [2, 3] }), 6), PILLOW_3X2, 1.01);
    close(rows(await tensorOf(nchw, { image: SAMPLE, size: [8, 9] }), 9), PILLOW_9X8_ROW, 1.01);
  });

  for (const [w, h] of [[3, 2], [9, 8], [2, 11], [7, 1], [64, 33]] as const) {
    for (const antialias of [true, false]) {
      test(`becomes ${w} x ${h}${antialias ? "" : ", not antialiased"}`, async () => {
        const actual = await tensorOf(nchw, { image: SAMPLE, size: [h, w], antialias });
        close(actual, planes(resized(SAMPLE, w, h, antialias)), 1e-5);
      });
    }
  }

  test("is normalised, and its channels turned", async () => {
    const [mean, std] = [[0.1, 0.2, 0.3], [0.5, 2, -4]];
    const wanted = resized(SAMPLE, 4, 4, true).map((row) => row.map((pixel) =>
      [...pixel].reverse().map((value, c) => (value - mean[c]!) / std[c]!)));
    close(await tensorOf(nchw, { image: SAMPLE, size: [4, 4], mean, std, channels: "BGR" }), planes(wanted), 1e-5);
  });

  test("uses what the package says, and the call's word before that", async () => {
    const own = await model("float32", [1, 5, 5, 3], { mean: [0.5], std: [0.25] });
    const pixels = resized(SAMPLE, 5, 5, true).flat(2);
    close(await tensorOf(own, SAMPLE), pixels.map((value) => (value - 0.5) / 0.25), 1e-5);
    close(await tensorOf(own, { image: SAMPLE, std: [1] }), pixels.map((value) => value - 0.5), 1e-5);
    assert.deepEqual(shapes.at(-1), [1, 5, 5, 3]);
  });

  test("fits: cover cuts, contain leaves borders, crop keeps the middle", async () => {
    const bars = image(4, 2, [1, 2, 3, 4, 5, 6, 7, 8].flatMap((v) => [v, v, v]));
    const gray = await model("float32", [1, 2, 2]);
    const bytes = async (model: Model, options: ImageOptions): Promise<number[]> =>
      (await tensorOf(model, { image: bars, antialias: false, ...options })).map((value) => 255 * value);
    close(await bytes(gray, {}), [1.5, 3.5, 5.5, 7.5], 1e-4);
    close(await bytes(gray, { fit: "cover" }), [2, 3, 6, 7], 1e-4);
    close(await bytes(gray, { fit: "cover", crop: 0.5 }), [3.25, 3.75, 5.25, 5.75], 1e-4);
    const tall = await model("float32", [1, 4, 2]);
    const white = [255, 255];
    const wanted = [...white, 3.5, 5.5, ...white, ...white];
    close(await bytes(tall, { fit: "contain", pad: [1, 1, 1] }), wanted, 1e-4);
  });

  test("becomes halves and bytes, of odd lengths too", async () => {
    const half = await model("float16", [3, 3, 3]);
    const wanted = planes(resized(SAMPLE, 3, 3, true));
    const { x } = await half.run({ x: SAMPLE }, { entry: "identity" });
    const values = x!.data.constructor.name === "Float16Array" ? Array.from(x!.data as Float32Array)
      : Array.from(x!.data as Uint16Array, fromHalf);
    close(values, wanted, 1e-3);
    const bytes = await model("uint8", [1, 3, 3, 3], { layout: "NHWC" });
    close(await tensorOf(bytes, SAMPLE), resized(SAMPLE, 3, 3, true).flat(2).map((value) => 255 * value), 0.51);
  });

  test("and another one of a second call don't mix", async () => {
    const dark = image(7, 6, Array.from({ length: 126 }, (_, i) => i));
    const runs = await Promise.all([SAMPLE, dark, SAMPLE].map((each) => tensorOf(nchw, each)));
    [SAMPLE, dark, SAMPLE].forEach((each, i) => { close(runs[i]!, planes(resized(each, 7, 6, true)), 1e-6); });
  });

  const WRONG: [string, unknown, RegExp][] = [
    ["too little data", { data: new Uint8ClampedArray(10), width: 2, height: 2 }, /are 16 bytes, the data has 10/],
    ["no pixels", { data: new Uint8ClampedArray(0), width: 0, height: 2 }, /no pixels \(0 x 2\)/],
    ["nothing of an image", { image: 3 }, /an image is an ImageBitmap/],
    ["three means for one channel", { image: SAMPLE, mean: [1, 2] }, /mean has 2 numbers for 3 channels/],
    ["a std of zero", { image: SAMPLE, std: [1, 0, 1] }, /std must not hold 0/],
    ["a crop of nothing", { image: SAMPLE, crop: 0 }, /crop must be above 0/],
    ["an element of a page", { width: 3, height: 3, getContext: () => null }, /outside of browsers/],
    ["a side that is too long", { data: new Uint8Array(4 * 100_000), width: 100_000, height: 1 }, /at most \d+ a side/],
  ];
  for (const [what, x, message] of WRONG) {
    test(`with ${what} is an InputError`, async () => {
      await assert.rejects(nchw.run({ x } as never, { entry: "identity" }), rejects("InputError", message));
    });
  }

  test("into a tensor that is none of images is an InputError", async () => {
    for (const [dtype, shape, message] of [
      ["int64", [1, 3, 2, 2], /float32, float16, uint8, and not int64/],
      ["float32", [2, 3, 2, 2], /takes 2 images at once/],
      ["float32", [3], /3 or 4 dimensions, not of 1/],
      ["float32", [1, 7, 5, 5], /7 channels/],
    ] as const) {
      const other = await model(dtype, [...shape]);
      await assert.rejects(other.run({ x: SAMPLE }, { entry: "identity" }), rejects("InputError", message));
    }
  });

  test("with options that no package can have is a PackageError", async () => {
    const loading = echo("float32", [1, 3, 4, 4], { fit: "best" } as never);
    await assert.rejects(loading, rejects("PackageError", /fit must be "stretch" or/));
  });
});

function fromHalf(bits: number): number {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return bits >> 15 ? -size : size;
}

test("where the package says that images come, nothing is compiled when they do", async () => {
  const folder = await alteredPackage((manifest) => {
    const entry = (manifest.entries as Entry[]).find(({ name }) => name === "identity")!;
    for (const port of [entry.inputs[0]!, entry.outputs[0]!]) Object.assign(port, { shape: ["batch", 3, 2, "width"] });
    Object.assign(entry.inputs[0]!, { image: {} });
  });
  const device = await (await adapter()).requestDevice();
  let compiled = 0;
  const make = device.createComputePipeline.bind(device);
  device.createComputePipeline = (descriptor) => {
    compiled++;
    return make(descriptor);
  };
  const model = await loadModel(folder, { device });
  assert.equal(compiled, 2); // one resizes, one packs
  await model.run({ x: SAMPLE }, { entry: "identity" });
  assert.equal(compiled, 2);
  model.dispose();
  device.destroy();
});
