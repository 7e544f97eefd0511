/** @file Checked arguments in, values for the wasm out: data and pictures in buffers that are used again. */
import { checkUsage, roomy, type Buffers } from "./buffers.ts";
import type { Commands } from "./commands.ts";
import { dtypeInfo, product } from "./dtype.ts";
import type { Value } from "./host.ts";
import { ImageWriter } from "./images.ts";
import { HeldTensor, referenceOf, type Owner } from "./results.ts";
import type { Entry } from "./manifest.ts";
import type { Argument, GpuTensor, Input } from "./tensor.ts";

export class InputBuffers {
  readonly #buffers: Buffers;
  readonly #commands: Commands;
  readonly #images: ImageWriter;
  readonly #owner: Owner;
  /** Buffers that inputs are copied to, by entry and input, used again while they are large enough. */
  readonly #slots = new Map<string, number>();

  constructor(device: GPUDevice, buffers: Buffers, commands: Commands, owner: Owner) {
    this.#buffers = buffers;
    this.#commands = commands;
    this.#images = new ImageWriter(device);
    this.#owner = owner;
  }

  /** Bytes that pictures take on their way. */
  get imageBytes(): number {
    return this.#images.bytes;
  }

  /** Brings an argument to where the wasm finds it. `slot` names entry and input. */
  place(arg: Argument, slot: string): Value {
    if ("value" in arg) return { kind: "int", value: arg.value };
    if ("object" in arg) return { kind: "object", object: referenceOf(arg.object, this.#owner, arg.port.name) };
    const { dtype, name } = arg.port;
    if ("picture" in arg) {
      const { shape } = arg.picture;
      const handle = this.#slot(slot, product(shape) * dtypeInfo(dtype).bytes);
      this.#images.write(this.#commands, arg.picture, this.#buffers.get(handle));
      return { kind: "tensor", dtype, shape, handle, offset: 0, object: 0 };
    }
    const { tensor } = arg;
    const { shape } = tensor;
    if ("buffer" in tensor) {
      const object = this.#check(tensor, name);
      const handle = this.#buffers.import(tensor.buffer);
      return { kind: "tensor", dtype, shape, handle, offset: tensor.offset ?? 0, object };
    }
    const handle = this.#slot(slot, tensor.data.byteLength);
    this.#write(handle, tensor.data);
    return { kind: "tensor", dtype, shape, handle, offset: 0, object: 0 };
  }

  /** Whether these are tensors in the same places, of the same shapes: then they need no other check. */
  same({ inputs: ports }: Entry, inputs: Readonly<Record<string, Input | null>>, values: readonly Value[]): boolean {
    if (Object.keys(inputs).length !== ports.length) return false;
    for (const [i, value] of values.entries()) {
      const port = ports[i]!;
      const input = inputs[port.name];
      if (value.kind !== "tensor" || typeof input !== "object") return false;
      if (!input || !("buffer" in input)) return false;
      if (input.dtype !== value.dtype || !sameShape(input.shape, value.shape)) return false;
      if (!this.#there(input, value, port.name)) return false;
    }
    return true;
  }

  /** Whether placing the argument would give this value, and make nothing. */
  fits(arg: Argument, slot: string, value: Value): boolean {
    if ("value" in arg) return value.kind === "int" && value.value === arg.value;
    if (value.kind !== "tensor" || !("tensor" in arg)) return false;
    const { tensor } = arg;
    if (!sameShape(tensor.shape, value.shape)) return false;
    if (!("buffer" in tensor)) return this.#known(slot, tensor.data.byteLength) === value.handle;
    return this.#there(tensor, value, arg.port.name);
  }

  /** Writes the data of an argument that fits `value`. */
  refill(arg: Argument, value: Value): void {
    if (value.kind === "tensor" && "tensor" in arg && "data" in arg.tensor) this.#write(value.handle, arg.tensor.data);
  }

  /** Gives back what only the next picture needs. */
  trim(): void {
    this.#images.destroy();
  }

  /** Gives back everything: some of it may not be what it seems, for want of memory. */
  clear(): void {
    this.trim();
    for (const handle of this.#slots.values()) this.#buffers.release(handle);
    this.#slots.clear();
  }

  #there(tensor: GpuTensor, value: Value & { kind: "tensor" }, name: string): boolean {
    if (tensor instanceof HeldTensor) this.#check(tensor, name);
    return this.#buffers.find(tensor.buffer) === value.handle && (tensor.offset ?? 0) === value.offset;
  }

  /** The tensor's object in the wasm, or 0. @throws InputError, DisposedError, DeviceLostError */
  #check(tensor: GpuTensor, name: string): number {
    // Another model's result is as good as any buffer.
    const own = tensor instanceof HeldTensor && (tensor.owner === this.#owner || tensor.owner.lost || tensor.disposed);
    if (own) return referenceOf(tensor, this.#owner, name);
    checkUsage(tensor.buffer, name);
    return 0;
  }

  #write(handle: number, { buffer, byteOffset, byteLength }: ArrayBufferView): void {
    this.#commands.write(handle, 0, new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength));
  }

  #known(slot: string, bytes: number): number | undefined {
    const known = this.#slots.get(slot);
    return known !== undefined && this.#buffers.get(known).bytes >= bytes ? known : undefined;
  }

  #slot(slot: string, bytes: number): number {
    const fit = this.#known(slot, bytes);
    if (fit !== undefined) return fit;
    const old = this.#slots.get(slot);
    // What has grown once may grow again, by a little each time.
    const handle = this.#buffers.make(old ? roomy(bytes, this.#buffers.largest) : bytes);
    if (old !== undefined) this.#buffers.release(old);
    this.#slots.set(slot, handle);
    return handle;
  }
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let axis = 0; axis < a.length; axis++) if (a[axis] !== b[axis]) return false;
  return true;
}
