/** @file A picture file in, the numbers of an image tensor out: scaled, cropped, normalised, channels first. */
import { choice, make } from "./dom.ts";

/** Pixel values from 0 to 1 become (value - mean) / deviation, by channel. */
const NORMALISATIONS: Readonly<Record<string, { readonly mean: number[]; readonly deviation: number[] }>> = {
  "ImageNet mean": { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] },
  "0 to 1": { mean: [0, 0, 0], deviation: [1, 1, 1] },
  "-1 to 1": { mean: [0.5, 0.5, 0.5], deviation: [0.5, 0.5, 0.5] },
  "0 to 255": { mean: [0, 0, 0], deviation: [1 / 255, 1 / 255, 1 / 255] },
};

export interface Picture {
  readonly element: HTMLElement;
  /** Channels x height x width numbers. */
  values(): Float32Array;
}

/** A place to choose or drop a picture, for a tensor of 1 or 3 channels. It starts with a pattern of its own. */
export function picture(channels: number, height: number, width: number): Picture {
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  drawPattern(context, width, height);
  const file = make("input", { type: "file", accept: "image/*" });
  const normalisation = choice(Object.keys(NORMALISATIONS), "Normalisation", channels === 3 ? undefined : "0 to 1");
  const element = make("div", { className: "drop" }, canvas, make("div", { className: "controls" },
    make("label", { className: "file" }, "Choose a picture", file),
    make("span", { className: "soft" }, "or drop one here"), normalisation));
  const show = async (blob: Blob | undefined): Promise<void> => {
    if (!blob) return;
    try {
      drawCover(context, await createImageBitmap(blob), width, height);
    } catch {
      file.setCustomValidity("This file is no picture that the browser reads.");
      file.reportValidity();
      file.setCustomValidity("");
    }
  };
  file.addEventListener("change", () => void show(file.files?.[0]));
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    element.classList.add("over");
  });
  element.addEventListener("dragleave", () => { element.classList.remove("over"); });
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("over");
    void show(event.dataTransfer?.files[0]);
  });
  const values = (): Float32Array => {
    const { mean, deviation } = NORMALISATIONS[normalisation.value]!;
    const { data } = context.getImageData(0, 0, width, height);
    const size = width * height;
    return Float32Array.from({ length: channels * size }, (_, i) => {
      const channel = Math.floor(i / size);
      return (level(data, i % size, channels === 1 ? undefined : channel) - mean[channel]!) / deviation[channel]!;
    });
  };
  return { element, values };
}

/** A pixel's channel, or its luminance (ITU-R BT.601), from 0 to 1. */
function level(data: Uint8ClampedArray, pixel: number, channel: number | undefined): number {
  const at = (offset: number): number => data[pixel * 4 + offset]! / 255;
  return channel === undefined ? 0.299 * at(0) + 0.587 * at(1) + 0.114 * at(2) : at(channel);
}

function drawCover(context: CanvasRenderingContext2D, image: ImageBitmap, width: number, height: number): void {
  const scale = Math.max(width / image.width, height / image.height);
  const [w, h] = [image.width * scale, image.height * scale];
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white"; // under what is transparent
  context.fillRect(0, 0, width, height);
  context.drawImage(image, (width - w) / 2, (height - h) / 2, w, h);
}

function drawPattern(context: CanvasRenderingContext2D, width: number, height: number): void {
  const gradient = context.createLinearGradient(0, 0, width, height);
  gradient.addColorStop(0, "#f2c14e");
  gradient.addColorStop(0.5, "#d9472b");
  gradient.addColorStop(1, "#3b2f63");
  context.fillStyle = gradient;
  context.fillRect(0, 0, width, height);
}
