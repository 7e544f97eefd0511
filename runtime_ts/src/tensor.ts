/** @file A caller's inputs, checked against an entry of the manifest: names, dtypes, and shapes with their symbols. */
import { dtypeInfo, product, type DType, type TypedArray } from "./dtype.ts";
import { InputError } from "./errors.ts";
import type { Entry, Port, SimplePort, TensorPort } from "./manifest.ts";
import { isImage, pictureOf, type ImageInput, type ImageSource, type Picture } from "./pictures.ts";

/** Elements in row-major order, in the typed array of their dtype (bool: Uint8Array; float16: Float16Array or bits). */
export interface Tensor {
  readonly data: TypedArray;
  readonly shape: readonly number[];
  /** Results have it; of an input it may be left out, since the entry says it. */
  readonly dtype?: DType;
}

/** A result that was read back. */
export type CpuTensor = Tensor & { readonly dtype: DType };

/** Elements in a buffer of the model's device, which needs the usages STORAGE, COPY_SRC and COPY_DST. */
export interface GpuTensor {
  readonly buffer: GPUBuffer;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Byte at which the elements start. */
  readonly offset?: number;
}

/** An object that lives in the model, such as a KV cache: a result to hand to later calls, and to dispose of. */
export interface ModelObject {
  dispose(): void;
}

export type Input = Tensor | GpuTensor | ImageSource | ImageInput | ModelObject | number | bigint;

/** What each symbol stands for in one call, and the input that said it. */
type Symbols = Map<string, { readonly value: number; readonly from: string }>;

/** An input beside the port that it fits. */
export type Argument =
  | { readonly port: TensorPort; readonly tensor: Tensor | GpuTensor }
  | { readonly port: TensorPort; readonly picture: Picture }
  | { readonly port: SimplePort; readonly value: bigint }
  | { readonly port: SimplePort; readonly object: ModelObject };

/** The inputs in the entry's order. @throws InputError that says what was expected and what was given. */
export function checkInputs(entry: Entry, inputs: Readonly<Record<string, Input | null>>): Argument[] {
  const expected = (): string => entry.inputs.map(describe).join(", ") || "no inputs";
  for (const name of Object.keys(inputs)) {
    if (!entry.inputs.some((port) => port.name === name)) {
      throw new InputError(`entry "${entry.name}" has no input "${name}"; it takes ${expected()}`);
    }
  }
  const symbols: Symbols = new Map();
  return entry.inputs.map((port) => {
    const input = Object.hasOwn(inputs, port.name) ? inputs[port.name] : undefined;
    if (input === undefined || input === null) {
      throw new InputError(`input "${port.name}" is missing; entry "${entry.name}" takes ${expected()}`);
    }
    switch (port.kind) {
      case "int":
      case "shape": return { port, value: asInt(port.name, input) };
      case "object": return { port, object: asObject(port.name, input) };
      case "tensor": {
        if (typeof input !== "object" || !isImage(input)) return { port, tensor: asTensor(port, input, symbols) };
        const picture = pictureOf(port, input);
        checkShape(port, picture.dtype, picture.shape, symbols);
        return { port, picture };
      }
    }
  });
}

/** A port in a message: `input: float32[batch, 3, 224, 224]`. */
export function describe(port: Port): string {
  return `${port.name}: ${port.kind === "tensor" ? typeText(port.dtype, port.shape) : port.kind}`;
}

function typeText(dtype: string, shape: readonly (number | string)[]): string {
  return `${dtype}[${shape.join(", ")}]`;
}

function asInt(name: string, input: Input): bigint {
  if (typeof input === "bigint") return input;
  if (typeof input === "number" && Number.isSafeInteger(input)) return BigInt(input);
  throw new InputError(`input "${name}" must be a whole number`);
}

function asObject(name: string, input: Input): ModelObject {
  if (typeof input === "object" && "dispose" in input && !("buffer" in input)) return input;
  throw new InputError(`input "${name}" must be an object that an earlier call returned`);
}

function asTensor(port: TensorPort, input: Input, symbols: Symbols): Tensor | GpuTensor {
  const fail: (problem: string) => never = (problem) => {
    throw new InputError(`input "${port.name}": ${problem}`);
  };
  if (typeof input !== "object" || !("shape" in input) || !Array.isArray(input.shape)) {
    return fail(`expected ${typeText(port.dtype, port.shape)} as { data, shape } or { buffer, dtype, shape }`);
  }
  const shape: readonly number[] = input.shape;
  const dtype = "buffer" in input ? input.dtype : (input.dtype ?? dtypeOfData(port.dtype, input.data));
  checkShape(port, dtype, shape, symbols);
  const given = (): string => typeText(dtype, shape);
  const elements = product(shape);
  const { bytes, arrays } = dtypeInfo(port.dtype);
  if ("buffer" in input) {
    const end = (input.offset ?? 0) + elements * bytes;
    if (end > input.buffer.size) fail(`${given()} ends at byte ${end} of a buffer of ${input.buffer.size} bytes`);
    return input;
  }
  if (!arrays.some((array) => input.data instanceof array)) {
    fail(`${port.dtype} data must be ${arrays.map(({ name }) => name).join(" or ")}, not ${nameOf(input.data)}`);
  }
  if (input.data.length !== elements) fail(`${given()} has ${elements} elements, the data ${input.data.length}`);
  return input;
}

/** Holds dtype and shape against the port's, and binds its symbols. @throws InputError */
function checkShape(port: TensorPort, dtype: string, shape: readonly number[], symbols: Symbols): void {
  const fail: (problem: string) => never = (problem) => {
    throw new InputError(`input "${port.name}": ${problem}`);
  };
  const misfit = (where = ""): never =>
    fail(`expected ${typeText(port.dtype, port.shape)}${where}, got ${typeText(dtype, shape)}`);
  if (dtype !== port.dtype || shape.length !== port.shape.length) misfit();
  port.shape.forEach((extent, axis) => {
    const value = shape[axis]!;
    if (!Number.isSafeInteger(value) || value < 0) fail(`${String(value)} is no extent of a shape`);
    const bound = typeof extent === "number" ? { value: extent, from: "" } : symbols.get(extent);
    if (bound === undefined) {
      symbols.set(extent as string, { value, from: port.name });
    } else if (bound.value !== value) {
      misfit(bound.from ? `, where ${extent} is ${bound.value} from "${bound.from}"` : "");
    }
  });
}

/** The dtype to call the data by in a message: the port's if it can hold it, else the array's own. */
function dtypeOfData(dtype: DType, data: unknown): string {
  if (dtypeInfo(dtype).arrays.some((array) => data instanceof array)) return dtype;
  return ArrayBuffer.isView(data) ? nameOf(data).replace(/^Big|(Clamped)?Array$/g, "").toLowerCase() : nameOf(data);
}

function nameOf(data: unknown): string {
  return (data as object | null | undefined)?.constructor.name ?? String(data);
}
