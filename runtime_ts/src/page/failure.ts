/** @file What keeps a package from loading in, a page that says so and what to do out. */
import { messageOf, TvmWebgpuError } from "../errors.ts";
import { button, make } from "./dom.ts";

interface Advice {
  readonly title: string;
  readonly steps: readonly string[];
}

const NO_WEBGPU: Advice = {
  title: "This browser has no WebGPU here",
  steps: [
    "Use Chrome or Edge 113, Safari 26 or Firefox 141, or newer.",
    "Open the page from localhost or by https: others get no WebGPU.",
    "On Linux, Chrome may want WebGPU switched on, at chrome://flags/#enable-unsafe-webgpu.",
  ],
};

const NO_ADAPTER: Advice = {
  title: "WebGPU found no graphics adapter",
  steps: [
    "Look for what is wrong at chrome://gpu, or at about:support in Firefox.",
    "Switch on hardware acceleration in the browser's settings, and update the graphics driver.",
  ],
};

const ADVICE: Readonly<Record<string, Advice>> = {
  PackageError: {
    title: "The package can't be read",
    steps: ["Look at the folder that `tvm-webgpu serve` was given, or compile the model again."],
  },
  UnsupportedError: {
    title: "This device can't run the package",
    steps: ["Compile the model for the default target, which every WebGPU device runs, or use another device."],
  },
  OutOfMemoryError: {
    title: "The GPU has too little memory",
    steps: ["Close other pages that use the GPU, or compile the model with parameters of 8 or 16 bits."],
  },
  DeviceLostError: { title: "The GPU was lost", steps: ["Load the package again; the driver may have been reset."] },
};

const OTHER: Advice = { title: "The package was not loaded", steps: ["The browser's console may say more."] };

export function failure(thrown: unknown, again: () => void): HTMLElement[] {
  const gpu = (navigator as Partial<Navigator>).gpu;
  const name = thrown instanceof TvmWebgpuError ? thrown.name : "Error";
  const message = messageOf(thrown);
  const advice = gpu === undefined ? NO_WEBGPU
    : /no graphics adapter/.test(message) ? NO_ADAPTER
    : ADVICE[name] ?? OTHER;
  const steps = advice.steps.map((step) => make("li", {}, step));
  return [make("h2", {}, advice.title), make("ul", {}, ...steps),
    make("p", { className: "said" }, make("b", {}, `${name}: `), message), button("Try again", again)];
}
