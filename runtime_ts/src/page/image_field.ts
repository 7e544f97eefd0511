/** @file An image tensor as a form field: a file, the camera or a drawing; the runtime resizes and normalises it. */
import type { TensorPort } from "../manifest.ts";
import type { ImageInput, ImageOptions, ImageSource } from "../pictures.ts";
import { button, choice, fileButton, make } from "./dom.ts";
import type { Field, Symbols } from "./fields.ts";
import { acceptDrops, sizeOf } from "./number_field.ts";
import { sheet } from "./sheet.ts";

const PREVIEW = 320;

/** Ranges of values that models are trained on, from values between 0 and 1. */
const RANGES: Readonly<Record<string, Pick<ImageOptions, "mean" | "std">>> = {
  "0 to 1": {},
  ImageNet: { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  "-1 to 1": { mean: [0.5], std: [0.5] },
  "0 to 255": { mean: [0], std: [1 / 255] },
};
const PACKAGE = "the package's";
const FITS = ["cover", "contain", "stretch"] as const;
const FIT_NAMES = ["crop", "pad", "stretch"] as const;

/** One image of 1, 3 or 4 channels, in either order, of a type that images become. */
export function fitsPicture({ dtype, shape, image }: TensorPort): boolean {
  if (!["float32", "float16", "uint8"].includes(dtype) || (shape.length !== 4 && shape.length !== 3)) return false;
  const [batch, ...rest] = shape.length === 3 ? [1, ...shape] : shape;
  if (typeof batch === "number" && batch !== 1) return false;
  if (image) return true;
  const { area, channels } = axes(rest);
  if (channels === undefined) return false;
  // Three dimensions are more often a sequence: only a picture has two large sides.
  const least = shape.length === 3 ? 16 : 8;
  return area.every((side) => (typeof side === "number" ? side >= least : /height|width|^[hw]$/i.test(side)));
}

type Extents = readonly (number | string)[];

function axes(rest: Extents): { area: Extents; channels: number | undefined } {
  const [first, second, third] = rest as [number | string, number | string, number | string];
  const isChannels = (extent: number | string): extent is number => extent === 1 || extent === 3 || extent === 4;
  if (isChannels(first)) return { area: [second, third], channels: first };
  return { area: [first, second], channels: isChannels(third) ? third : undefined };
}

type Kind = "picture" | "camera" | "drawing";

/** `changed` is called when the camera starts or stops. Small grey pictures start as a drawing. */
export function imageField(port: TensorPort, changed: () => void): Field {
  const { area, channels = 3 } = axes(port.shape.slice(-3));
  const [height, width] = area.map((side) => (typeof side === "number" ? side : 1)) as [number, number];
  const view = make("canvas", { className: "view", ariaLabel: "The picture" });
  const scale = PREVIEW / Math.max(width, height);
  [view.width, view.height] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  const video = make("video", { className: "view", muted: true, playsInline: true, ariaLabel: "The camera" });
  const drawing = sheet(view.width, view.height, channels === 1);
  const told = make("p", { className: "soft", role: "status" });
  let source: ImageSource = sample(view);
  let stream: MediaStream | undefined;

  const stop = (): void => {
    if (!stream) return;
    stream.getTracks().forEach((track) => { track.stop(); });
    stream = undefined;
    changed();
  };
  const show = (kind: Kind): void => {
    if (kind !== "camera") stop();
    view.hidden = kind !== "picture";
    video.hidden = kind !== "camera";
    drawing.element.hidden = kind !== "drawing";
    camera.ariaPressed = String(kind === "camera");
    draw.ariaPressed = String(kind === "drawing");
  };
  const take = (file: Blob): void => {
    createImageBitmap(file).then((bitmap) => {
      source = bitmap;
      told.textContent = `${bitmap.width} x ${bitmap.height} pixels`;
      paint();
      show("picture");
    }).catch(() => { told.textContent = "This file is no picture that the browser reads."; });
  };
  const paint = (): void => { place(view, source as ImageBitmap, FITS[fit.selectedIndex]!); };
  const startCamera = (): void => {
    const wanted = { video: { width: { ideal: 640 }, facingMode: "environment" } };
    // Only secure pages have cameras, as they have WebGPU.
    navigator.mediaDevices.getUserMedia(wanted).then(async (found) => {
      stream = found;
      video.srcObject = found;
      await video.play();
      told.textContent = `camera, ${video.videoWidth} x ${video.videoHeight}`;
      show("camera");
      changed();
    }).catch((error: unknown) => {
      told.textContent = `No camera: ${error instanceof Error ? error.message : String(error)}`;
    });
  };
  const camera = button("Camera", startCamera);
  const draw = button("Draw", () => { show("drawing"); });
  const fit = make("select", { ariaLabel: "How another shape is made to fit" });
  fit.append(...FIT_NAMES.map((name) => make("option", {}, name)));
  fit.selectedIndex = FITS.indexOf(port.image?.fit ?? "cover");
  fit.addEventListener("change", () => { if (!view.hidden) paint(); });
  const ranges = [...(port.image ? [PACKAGE] : []), ...Object.keys(RANGES)];
  const range = choice(ranges, "Values", port.image ? PACKAGE : channels === 3 ? ranges[1] : ranges[0]);
  const chosen = (): ImageSource => (!video.hidden ? video : drawing.element.hidden ? source : drawing.canvas);

  const element = make("div", { className: "picture" },
    make("div", { className: "frame" }, view, video, drawing.element),
    make("div", { className: "controls" },
      make("div", { className: "row" }, fileButton("Choose a picture", "image/*", take), camera, draw),
      make("label", { className: "choice" }, "Values", range),
      make("label", { className: "choice" }, "Fit", fit), told));
  acceptDrops(element, take);
  if (channels === 1 && Math.max(width, height) <= 64) show("drawing");
  else show("picture");
  return {
    element,
    value(symbols: Symbols): ImageInput {
      const size = area.map((side) => sizeOf(side, symbols)) as [number, number];
      const open = area.some((side) => typeof side === "string") ? { size } : {};
      const preset = range.value === PACKAGE ? {} : { ...NONE, ...RANGES[range.value] };
      return { image: chosen(), fit: FITS[fit.selectedIndex]!, ...open, ...preset };
    },
    moving: () => stream !== undefined,
    close: stop,
  };
}

/** What the package says of values gives way to the user's choice. */
const NONE: Pick<ImageOptions, "mean" | "std"> = { mean: [0], std: [1] };

/** The picture as it will be cut, as large as the preview is. */
function place(canvas: HTMLCanvasElement, image: ImageBitmap | HTMLCanvasElement, fit: (typeof FITS)[number]): void {
  const context = canvas.getContext("2d")!;
  const { width, height } = canvas;
  const scales = [width / image.width, height / image.height] as const;
  const pick = fit === "cover" ? Math.max(...scales) : Math.min(...scales);
  const [w, h] = fit === "stretch" ? [width, height] : [image.width * pick, image.height * pick];
  context.imageSmoothingQuality = "high";
  context.clearRect(0, 0, width, height);
  context.drawImage(image, (width - w) / 2, (height - h) / 2, w, h);
}

/** Something to run before a picture is chosen. */
function sample(canvas: HTMLCanvasElement): HTMLCanvasElement {
  const { width, height } = canvas;
  const image = make("canvas", { width, height });
  const context = image.getContext("2d")!;
  const sky = context.createLinearGradient(0, 0, 0, height);
  sky.addColorStop(0, "#3b2f63");
  sky.addColorStop(0.55, "#d9472b");
  sky.addColorStop(0.75, "#f2c14e");
  context.fillStyle = sky;
  context.fillRect(0, 0, width, height);
  context.fillStyle = "#fff4cf";
  context.beginPath();
  context.arc(width * 0.62, height * 0.56, Math.min(width, height) * 0.12, 0, 2 * Math.PI);
  context.fill();
  for (const [colour, base, peak] of [["#46306b", 0.7, 0.2], ["#241a3d", 0.84, 0.14]] as const) {
    context.fillStyle = colour;
    context.beginPath();
    context.moveTo(0, height);
    for (let x = 0; x <= 32; x++) {
      const ridge = Math.sin(x * 0.7 + base * 9) * 0.5 + Math.sin(x * 0.23) * 0.5;
      context.lineTo((x / 32) * width, height * (base - peak * ridge * 0.5));
    }
    context.lineTo(width, height);
    context.fill();
  }
  canvas.getContext("2d")!.drawImage(image, 0, 0);
  return image;
}
