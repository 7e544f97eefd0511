/** @file An entry's inputs in, form fields out, which give the inputs of a run when asked. */
import { product, zeros, type DType, type TypedArray } from "../dtype.ts";
import type { Entry, Port, TensorPort } from "../manifest.ts";
import type { Input, ModelObject } from "../tensor.ts";
import { choice, make } from "./dom.ts";
import { picture } from "./picture.ts";

/** An object that an earlier run returned, and how to call it. */
export interface Kept {
  readonly label: string;
  readonly name: string;
  readonly object: ModelObject;
}

export interface Field {
  readonly element: HTMLElement;
  readonly value: (symbols: ReadonlyMap<string, number>) => Input;
  /** Takes up objects that were kept since. */
  readonly refresh?: () => void;
}

export interface Form {
  readonly elements: HTMLElement[];
  /** @throws Error with a sentence for the user. */
  inputs(): Record<string, Input>;
  refresh(): void;
}

const FLOATS: ReadonlySet<DType> = new Set(["float32", "float16", "bfloat16"]);

export function entryForm(entry: Entry, kept: readonly Kept[]): Form {
  const symbols = symbolFields(entry);
  const fields = entry.inputs.map((port) => [port.name, fieldOf(port, kept)] as const);
  const elements = fields.map(([, { element }]) => element);
  if (symbols.size > 0) {
    const labels = [...symbols].map(([name, input]) => make("label", {}, name, input));
    const row = make("div", { className: "row" }, ...labels);
    elements.unshift(make("div", { className: "field" }, make("b", {}, "Sizes"), row));
  }
  if (elements.length === 0) elements.push(make("p", { className: "soft" }, "This entry takes no inputs."));
  return {
    elements,
    inputs() {
      const sizes = new Map([...symbols].map(([name, input]) => [name, input.valueAsNumber]));
      return Object.fromEntries(fields.map(([name, field]) => [name, field.value(sizes)]));
    },
    refresh() {
      for (const [, field] of fields) field.refresh?.();
    },
  };
}

/** A number for each symbol of the tensors' shapes. */
function symbolFields(entry: Entry): Map<string, HTMLInputElement> {
  const names = entry.inputs.flatMap((port) => (port.kind === "tensor" ? port.shape : []))
    .filter((extent) => typeof extent === "string");
  return new Map(names.map((name) => {
    // A batch is one to begin with, a sequence more than one.
    const value = /batch|^n$/i.test(name) ? "1" : "8";
    return [name, make("input", { type: "number", min: "1", step: "1", required: true, value })];
  }));
}

function fieldOf(port: Port, kept: readonly Kept[]): Field {
  const type = port.kind === "tensor" ? `${port.dtype}[${port.shape.join(", ")}]` : port.kind;
  const inner = bodyOf(port, kept);
  const head = make("div", { className: "head" }, make("b", {}, port.name), make("span", { className: "type" }, type));
  return { ...inner, element: make("div", { className: "field" }, head, inner.element) };
}

function bodyOf(port: Port, kept: readonly Kept[]): Field {
  switch (port.kind) {
    case "int":
    case "shape": return intField(port.name);
    case "object": return objectField(port.name, kept);
    case "tensor": return isPicture(port) ? pictureField(port) : numbersField(port);
  }
}

function intField(name: string): Field {
  const input = make("input", { type: "number", step: "1", required: true, value: "1", ariaLabel: name });
  return { element: make("div", { className: "row" }, input), value: () => input.valueAsNumber };
}

function objectField(name: string, kept: readonly Kept[]): Field {
  const element = make("div");
  let chosen: () => Kept | undefined = () => undefined;
  const refresh = (): void => {
    const latest = kept.filter((item) => item.name === name).at(-1) ?? kept.at(-1);
    const select = choice(kept.map(({ label }) => label), name, latest?.label);
    chosen = () => kept.find(({ label }) => label === select.value);
    const hint = make("p", { className: "soft" }, "Run an entry first that returns such an object.");
    element.replaceChildren(latest ? select : hint);
  };
  refresh();
  const value = (): ModelObject => {
    const object = chosen()?.object;
    if (!object) throw new Error(`There is no object for "${name}" yet: run an entry that makes one.`);
    return object;
  };
  return { element, value, refresh };
}

/** Floats of batch x channels x height x width, with 1 or 3 channels. */
function isPicture({ dtype, shape }: TensorPort): boolean {
  const [, channels, height, width] = shape;
  return shape.length === 4 && dtype === "float32" && (channels === 1 || channels === 3)
    && typeof height === "number" && typeof width === "number";
}

function pictureField(port: TensorPort): Field {
  const [batch, channels, height, width] = port.shape as [number | string, number, number, number];
  const shown = picture(channels, height, width);
  return {
    element: shown.element,
    value: (symbols) => {
      const count = sizeOf(batch, symbols);
      const one = shown.values();
      const data = new Float32Array(count * one.length);
      for (let i = 0; i < count; i++) data.set(one, i * one.length);
      return { data, shape: [count, channels, height, width] };
    },
  };
}

type Fill = (index: number) => number;

/** Standard normal numbers (Box and Muller). */
const normal: Fill = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());

const FILLS: Readonly<Record<string, Fill>> = {
  "random, normal": normal,
  "random, 0 to 1": () => Math.random(),
  "random, 0 or 1": () => Math.floor(Math.random() * 2),
  "random, 0 to 99": () => Math.floor(Math.random() * 100),
  zeros: () => 0,
  ones: () => 1,
  counting: (index) => index,
};

function numbersField(port: TensorPort): Field {
  const { dtype } = port;
  const first = FLOATS.has(dtype) ? "random, normal" : dtype === "bool" ? "random, 0 or 1" : "random, 0 to 99";
  const whole = Object.keys(FILLS).filter((name) => FLOATS.has(dtype) || !/normal|0 to 1$/.test(name));
  const fill = choice([...whole, "own numbers"], "Values", first);
  const own = make("input", { type: "text", className: "grow", placeholder: "1, 2, 3 (repeated to fill)" });
  own.hidden = true;
  own.ariaLabel = `Numbers for ${port.name}`;
  fill.addEventListener("change", () => { own.hidden = fill.value !== "own numbers"; });
  return {
    element: make("div", { className: "row" }, fill, own),
    value: (symbols) => {
      const shape = port.shape.map((extent) => sizeOf(extent, symbols));
      const rule = FILLS[fill.value] ?? repeated(own.value, port.name);
      return { data: filled(dtype, product(shape), rule), shape };
    },
  };
}

function repeated(text: string, name: string): Fill {
  const numbers = text.split(/[\s,;]+/).filter(Boolean).map(Number);
  if (numbers.length === 0 || numbers.some((value) => Number.isNaN(value))) {
    throw new Error(`Write the numbers for "${name}" with commas between.`);
  }
  return (index) => numbers[index % numbers.length]!;
}

function sizeOf(extent: number | string, symbols: ReadonlyMap<string, number>): number {
  return typeof extent === "number" ? extent : (symbols.get(extent) ?? 1);
}

function filled(dtype: DType, elements: number, fill: Fill): TypedArray {
  const data = zeros(dtype, elements);
  const asBits = FLOATS.has(dtype) && data instanceof Uint16Array;
  for (let i = 0; i < elements; i++) {
    const value = fill(i);
    if (data instanceof BigInt64Array || data instanceof BigUint64Array) data[i] = BigInt(Math.trunc(value));
    else data[i] = asBits ? bits16(value, dtype) : value;
  }
  return data;
}

/** The upper bits of a float32 as bfloat16; half floats likewise, for normal numbers (no typed array here does it). */
function bits16(value: number, dtype: DType): number {
  const word = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  if (dtype === "bfloat16") return word >>> 16;
  const exponent = (word >>> 23 & 0xff) - 112;
  const sign = word >>> 16 & 0x8000;
  if (exponent <= 0) return sign;
  return exponent >= 31 ? sign | 0x7c00 : sign | exponent << 10 | word >>> 13 & 0x3ff;
}
