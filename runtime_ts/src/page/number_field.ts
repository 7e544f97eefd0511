/** @file A tensor of numbers as a form field: random ones, rules, one's own, a text, or a .npy file. */
import { readNpy } from "../cli/npy.ts";
import { product, type DType } from "../dtype.ts";
import { messageOf } from "../errors.ts";
import type { TensorPort } from "../manifest.ts";
import type { CpuTensor } from "../model.ts";
import type { Tensor } from "../tensor.ts";
import { choice, fileButton, make } from "./dom.ts";
import type { Field, Symbols } from "./fields.ts";
import { filled, isFloat } from "./values.ts";

type Rule = (index: number) => number;

/** Standard normal numbers (Box and Muller). */
const normal: Rule = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());

interface Fill {
  readonly rule: Rule;
  readonly floatsOnly?: boolean;
}

const FILLS: Readonly<Record<string, Fill>> = {
  "random, normal": { rule: normal, floatsOnly: true },
  "random, 0 to 1": { rule: () => Math.random(), floatsOnly: true },
  "random, 0 or 1": { rule: () => Math.floor(Math.random() * 2) },
  "random, 0 to 99": { rule: () => Math.floor(Math.random() * 100) },
  zeros: { rule: () => 0 },
  ones: { rule: () => 1 },
  counting: { rule: (index) => index },
};
const OWN = "my own numbers";
const TEXT = "a text, as UTF-8 bytes";
const FILE = "a .npy file";

/** What an input of this name usually holds. */
const USUAL: readonly (readonly [RegExp, string])[] = [
  [/mask/i, "ones"],
  [/token_?type|segment/i, "zeros"],
  [/position/i, "counting"],
];

function usual({ name, dtype }: TensorPort): string {
  if (dtype === "bool") return /mask/i.test(name) ? "ones" : "random, 0 or 1";
  const known = isFloat(dtype) ? undefined : USUAL.find(([pattern]) => pattern.test(name));
  return known?.[1] ?? (isFloat(dtype) ? "random, normal" : "random, 0 to 99");
}

export function numberField(port: TensorPort): Field {
  const { dtype, name } = port;
  const rules = Object.keys(FILLS).filter((key) => isFloat(dtype) || !FILLS[key]!.floatsOnly);
  const rowOfNumbers = !isFloat(dtype) && dtype !== "bool" && (port.shape.length === 1 || port.shape.length === 2);
  const how = choice([...rules, OWN, ...(rowOfNumbers ? [TEXT] : []), FILE], `Values of ${name}`, usual(port));
  const own = make("textarea", { rows: 2, spellcheck: false, ariaLabel: `Numbers for ${name}` });
  own.placeholder = "1, 2, 3 (repeated to fill)";
  const text = make("textarea", { rows: 3, ariaLabel: `Text for ${name}`, value: "Hello, GPU." });
  let tensor: CpuTensor | undefined;
  const told = make("span", { className: "soft", role: "status" }, "no file yet");
  const take = (file: File): void => {
    file.arrayBuffer().then((buffer) => {
      tensor = readNpy(new Uint8Array(buffer), file.name);
      told.textContent = `${file.name}: ${tensor.dtype}[${tensor.shape.join(", ")}]`;
    }).catch((error: unknown) => {
      tensor = undefined;
      told.textContent = messageOf(error);
    });
  };
  const file = make("div", { className: "row" }, fileButton("Choose a .npy file", ".npy", take), told);
  const parts: Readonly<Record<string, HTMLElement>> = { [OWN]: own, [TEXT]: text, [FILE]: file };
  const show = (): void => {
    for (const [key, element] of Object.entries(parts)) element.hidden = how.value !== key;
  };
  how.addEventListener("change", show);
  show();
  const element = make("div", { className: "stack" }, make("div", { className: "row" }, how), own, text, file);
  acceptDrops(element, (dropped) => {
    how.value = FILE;
    show();
    take(dropped);
  });
  const bytes = (): Uint8Array => new TextEncoder().encode(text.value);
  return {
    element,
    value(symbols): Tensor {
      if (how.value === FILE) return fileTensor(tensor, port);
      const shape = port.shape.map((extent) => sizeOf(extent, symbols));
      return { data: filled(dtype, product(shape), ruleOf(how.value, own.value, bytes(), port, shape)), shape };
    },
    implied(): Symbols {
      if (how.value === FILE && tensor?.shape.length === port.shape.length) return bound(port, tensor.shape);
      return how.value === TEXT ? bound(port, [...port.shape.slice(0, -1), bytes().length]) : new Map();
    },
  };
}

function ruleOf(how: string, own: string, bytes: Uint8Array, port: TensorPort, shape: readonly number[]): Rule {
  if (how === OWN) return repeated(own, port.name);
  const row = shape.at(-1) ?? 1;
  if (how === TEXT) return (index) => bytes[index % row] ?? 0; // what a fixed length leaves over is 0
  return FILLS[how]!.rule;
}

function repeated(text: string, name: string): Rule {
  const numbers = text.split(/[\s,;]+/).filter(Boolean).map(Number);
  if (numbers.length === 0 || numbers.some((value) => Number.isNaN(value))) {
    throw new Error(`Write the numbers for "${name}" with commas between.`);
  }
  return (index) => numbers[index % numbers.length]!;
}

function fileTensor(tensor: CpuTensor | undefined, port: TensorPort): Tensor {
  if (!tensor) throw new Error(`Choose a .npy file for "${port.name}".`);
  const wanted: DType = port.dtype;
  if (tensor.dtype !== wanted) {
    throw new Error(`The file for "${port.name}" holds ${tensor.dtype}, the model takes ${wanted}.`);
  }
  return tensor;
}

function bound({ shape }: TensorPort, extents: readonly (number | string)[]): Symbols {
  const known = shape.map((extent, axis) => [extent, extents[axis]] as const);
  return new Map(known.filter((pair): pair is [string, number] =>
    typeof pair[0] === "string" && typeof pair[1] === "number"));
}

export function sizeOf(extent: number | string, symbols: Symbols): number {
  return typeof extent === "number" ? extent : (symbols.get(extent) ?? 1);
}

export function acceptDrops(element: HTMLElement, take: (file: File) => void): void {
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    element.classList.add("over");
  });
  element.addEventListener("dragleave", () => { element.classList.remove("over"); });
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("over");
    const file = event.dataTransfer?.files[0];
    if (file) take(file);
  });
}
