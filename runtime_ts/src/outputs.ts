/** @file Values that the wasm gave in, what callers get out: arrays, tensors on the GPU, numbers and objects. */
import type { Block } from "./buffers.ts";
import { dtypeInfo, product } from "./dtype.ts";
import type { Value } from "./host.ts";
import type { Readback } from "./readback.ts";
import type { Lease, Recordings } from "./recordings.ts";
import { HeldObject, HeldTensor, type GpuResult, type Owner } from "./results.ts";
import type { Session } from "./session.ts";
import type { CpuTensor, ModelObject } from "./tensor.ts";

export type TensorValue = Value & { kind: "tensor" };
export type Finish = () => Promise<unknown[]>;

export class Outputs {
  readonly #session: Session;
  readonly #recordings: Recordings;
  readonly #readback: Readback;
  readonly #owner: Owner;
  /** Results on the GPU that callers have. */
  lent = 0;

  constructor(session: Session, recordings: Recordings, readback: Readback, owner: Owner) {
    this.#session = session;
    this.#recordings = recordings;
    this.#readback = readback;
    this.#owner = owner;
  }

  /** Results read back, once they are submitted. */
  toCpu(results: readonly Value[]): Finish {
    const tensors = results.filter((value): value is TensorValue => value.kind === "tensor");
    const read = this.#readback.plan(this.#session.commands, tensors);
    return async () => {
      const arrays = (await read())[Symbol.iterator]();
      return results.map((value) => (value.kind === "tensor" ? arrays.next().value : this.#plain(value)));
    };
  }

  /** Results that stay. `leases`: of the results in the model's own memory, in order. */
  toGpu(results: readonly Value[], leases: readonly Lease[]): unknown[] {
    let next = 0;
    return results.map((value) => {
      if (value.kind !== "tensor") return this.#plain(value);
      const block = this.#session.buffers.get(value.handle);
      if (!this.#recordings.owned(value)) return this.#copied(value);
      const lease = leases[next++]!;
      this.#recordings.hold(lease);
      return this.#lend(value, block, () => { this.#recordings.letGo(lease); });
    });
  }

  /** The model gave an input, a parameter or its own memory back; the result must not change when those do. */
  #copied(value: TensorValue): GpuResult {
    const { buffers, commands, host } = this.#session;
    const bytes = product(value.shape) * dtypeInfo(value.dtype).bytes;
    const handle = buffers.make(bytes);
    const own = buffers.get(handle);
    commands.copyOut(value.handle, value.offset, bytes, own.buffer, 0);
    if (value.object !== 0) host.release(value.object);
    return this.#lend({ ...value, offset: 0, object: 0 }, own, () => { buffers.release(handle); });
  }

  #lend(value: TensorValue, block: Block, letGo: () => void): GpuResult {
    this.lent++;
    return new HeldTensor(value, block, () => {
      this.lent--;
      if (!gone(this.#owner)) letGo();
    }, this.#owner);
  }

  /** A result that is no tensor. */
  #plain(value: Exclude<Value, TensorValue>): ModelObject | CpuTensor | null {
    switch (value.kind) {
      case "none": return null;
      case "int": return { data: BigInt64Array.of(value.value), shape: [], dtype: "int64" };
      case "float": return { data: Float32Array.of(value.value), shape: [], dtype: "float32" };
      case "object": {
        const release = (): void => { if (!gone(this.#owner)) this.#session.host.release(value.object); };
        return new HeldObject(value.object, release, this.#owner);
      }
    }
  }
}

/** What a lost device or a model that was disposed of held is no longer there to be given back. */
function gone({ lost, destroyed }: Owner): boolean {
  return lost || destroyed;
}
