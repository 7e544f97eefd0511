/** @file A tensor with two large sides in, a picture out: of its colours, one of its channels, or the best channel. */
import type { CpuTensor } from "../model.ts";
import { button, choice, make, short } from "./dom.ts";
import type { Shown } from "./views.ts";

const SMALLEST_SIDE = 16;
/** Up to this side pixels are shown as they are, not smoothed. */
const COARSE = 64;

/** How a tensor is read as channels of height x width. */
interface Planes {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** Distance between a pixel's channels, and between pixels. */
  readonly channelStep: number;
  readonly pixelStep: number;
}

export function planesOf(shape: readonly number[]): Planes | undefined {
  const trimmed = shape.length > 2 && shape[0] === 1 ? shape.slice(1) : shape;
  if (trimmed.length < 2 || trimmed.length > 3) return undefined;
  const last = trimmed.at(-1)!;
  const channelsLast = trimmed.length === 3 && (last === 1 || last === 3 || last === 4);
  const [channels, height, width] = trimmed.length === 2 ? [1, trimmed[0]!, trimmed[1]!]
    : channelsLast ? [last, trimmed[0]!, trimmed[1]!] : [trimmed[0]!, trimmed[1]!, trimmed[2]!];
  if (Math.min(height, width) < SMALLEST_SIDE) return undefined;
  const [channelStep, pixelStep] = channelsLast ? [1, channels] : [height * width, 1];
  return { channels, height, width, channelStep, pixelStep };
}

type Range = readonly [number, number];

const RANGES: Readonly<Record<string, Range | undefined>> = {
  "from least to most": undefined, "0 to 1": [0, 1], "-1 to 1": [-1, 1], "0 to 255": [0, 255],
};

export function pictureView({ shape }: CpuTensor, values: Float64Array): Shown {
  const planes = planesOf(shape)!;
  const { channels, height, width } = planes;
  const className = Math.max(width, height) <= COARSE ? "view coarse" : "view";
  const canvas = make("canvas", { className, width, height, ariaLabel: "The result as a picture" });
  const ways = [...(channels === 3 || channels === 4 ? ["colours"] : []), ...(channels > 1 ? ["best channel"] : []),
    ...Array.from({ length: channels }, (_, i) => `channel ${i}`)];
  const way = choice(ways, "What to show");
  const least = values.reduce((a, b) => Math.min(a, b), Infinity);
  const most = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const range = choice(Object.keys(RANGES), "Black and white", least >= 0 && most <= 1 ? "0 to 1" : undefined);
  const draw = (): void => {
    const pixels = new ImageData(width, height);
    const paint = painter(way.value, planes, values, RANGES[range.value] ?? [least, most]);
    for (let i = 0; i < width * height; i++) pixels.data.set([...paint(i * planes.pixelStep), 255], 4 * i);
    canvas.getContext("2d")!.putImageData(pixels, 0, 0);
    range.hidden = way.value === "best channel";
  };
  way.addEventListener("change", draw);
  range.addEventListener("change", draw);
  draw();
  const save = button("Save .png", () => {
    make("a", { href: canvas.toDataURL("image/png"), download: "result.png" }).click();
  });
  const note = make("p", { className: "soft" }, `from ${short(least)} to ${short(most)}`);
  return { body: [canvas, note], controls: [...(ways.length > 1 ? [way] : []), range, save] };
}

type Colour = readonly [number, number, number];

/** The colour of the pixel whose first channel is at an index of the values. */
function painter(way: string, planes: Planes, values: Float64Array, [least, most]: Range): (at: number) => Colour {
  const { channels, channelStep } = planes;
  const level = (index: number): number => ((values[index]! - least) / (most - least || 1)) * 255;
  if (way === "colours") return (at) => [level(at), level(at + channelStep), level(at + 2 * channelStep)];
  if (way === "best channel") {
    return (at) => {
      let best = 0;
      for (let c = 1; c < channels; c++) {
        if (values[at + c * channelStep]! > values[at + best * channelStep]!) best = c;
      }
      return hue(best);
    };
  }
  const channel = Number(/\d+$/.exec(way)?.[0] ?? 0);
  return (at) => {
    const grey = level(at + channel * channelStep);
    return [grey, grey, grey];
  };
}

/** Colours far apart for neighbouring numbers (the golden angle around the colour circle); the first is black. */
function hue(index: number): Colour {
  if (index === 0) return [0, 0, 0];
  const angle = index * 2.39996;
  const wave = (shift: number): number => 140 + 110 * Math.cos(angle + shift);
  return [wave(0), wave(2.0944), wave(4.1888)];
}
