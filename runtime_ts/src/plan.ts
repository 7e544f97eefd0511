/**
 * @file A command list in, its plan out: which pipeline and bind group each launch takes. A list that differs only in
 * grids, scalars and copied ranges has the same plan, so a repeated call looks nothing up.
 */
import { inBrowser } from "./browser.ts";
import type { Buffers } from "./buffers.ts";
import { ModelError } from "./errors.ts";
import type { CompiledKernel, KernelLayout } from "./kernels.ts";
import { SLOTS, Uniforms } from "./uniforms.ts";
import { bindGroup } from "./words.ts";

export const OPCODE = { dispatch: 1, copy: 2, fill: 3 } as const;

export interface Launch {
  readonly kernel: CompiledKernel;
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  /** Its grid in the list at hand, which stands there at `at`. */
  x: number;
  y: number;
  z: number;
  readonly at: number;
  /** Its scalars: words[scalars..end), in this slot of the uniforms. */
  readonly scalars: number;
  readonly end: number;
  readonly slot: number;
  /** The slot has been another's since the last submit: that launch must be handed over first. */
  readonly again: boolean;
}

/** A copy or a fill: everything is read from the list, its words after the first beginning at `at`. */
export interface Move {
  readonly kernel?: undefined;
  readonly opcode: typeof OPCODE.copy | typeof OPCODE.fill;
  readonly at: number;
}

export interface Plan {
  readonly steps: readonly (Launch | Move)[];
  /** The scalars may differ from those that the uniforms hold. */
  readonly fresh: boolean;
  /** Of the launch after this list. */
  readonly nextSlot: number;
  /** Launches in each submit, so that they are shared out evenly. */
  readonly perSubmit: number;
  /** The launches of each submit, where a plan is nothing else and each has a slot of its own. */
  readonly submits: readonly (readonly Launch[])[] | undefined;
}

interface KnownPlan extends Plan {
  fresh: boolean;
  /** Of the last list that had this plan. */
  words: Uint32Array;
  /** All ones where a list of this plan has the same word. */
  readonly fixed: Uint32Array;
  readonly firstSlot: number;
  /** Launches share slots. */
  readonly crowded: boolean;
}

interface KnownGroup {
  readonly layout: KernelLayout;
  readonly handles: Uint32Array;
  readonly slot: number;
  readonly group: GPUBindGroup;
}

/** Lists of one length that are remembered; of these the oldest goes. */
const MOST_ALIKE = 16;
const MOST_WORDS = 1 << 20;
const MOST_GROUPS = 1 << 15;
/**
 * The GPU works on the first launches while the rest are encoded. Fewer cost more in submits than they hide, and so do
 * pieces that grow (bench/README.md). In browsers another process encodes, and has all soon after the first.
 */
const MOST_PER_SUBMIT = inBrowser() ? 64 : 14;
const NO_SLOT = -1;

export class Plans {
  readonly #device: GPUDevice;
  readonly #buffers: Buffers;
  readonly #kernels: readonly CompiledKernel[];
  readonly #uniforms: Uniforms | undefined;
  readonly #plans = new Map<number, KnownPlan[]>();
  /** By a hash of layout, slot and handles; the few of one hash are told apart by comparing. */
  readonly #groups = new Map<number, KnownGroup[]>();
  /** Whose scalars the uniforms hold. */
  #last: KnownPlan | undefined;
  #epoch = 0;
  #words = 0;
  /** Bind groups made so far. */
  groupsMade = 0;

  constructor(
    device: GPUDevice, buffers: Buffers, kernels: readonly CompiledKernel[], uniforms: Uniforms | undefined,
  ) {
    this.#device = device;
    this.#buffers = buffers;
    this.#kernels = kernels;
    this.#uniforms = uniforms;
  }

  /** Keeps `words`, which must not change. @throws ModelError if it is no command list. */
  of(words: Uint32Array, firstSlot: number): Plan {
    const full = this.#words > MOST_WORDS || this.#groups.size > MOST_GROUPS;
    if (full || this.#epoch !== this.#buffers.epoch) this.clear();
    const last = this.#last;
    if (last?.words === words && last.firstSlot === firstSlot) {
      last.fresh = last.crowded;
      return last;
    }
    let alike = this.#plans.get(words.length);
    if (!alike) this.#plans.set(words.length, (alike = []));
    let plan = alike.find((each) => each.firstSlot === firstSlot && (each.words === words || matches(each, words)));
    if (plan) {
      const same = plan.words === words || equal(plan.words, words);
      plan.fresh = plan.crowded || plan !== this.#last || !same;
      plan.words = words;
      if (!same) for (const step of plan.steps) if (step.kernel) readGrid(step, words);
    } else {
      plan = this.#decode(words, firstSlot);
      alike.unshift(plan);
      this.#words += words.length;
      if (alike.length > MOST_ALIKE) this.#words -= alike.pop()!.words.length;
    }
    this.#last = plan;
    return plan;
  }

  /** What to encode of a list that was the last one, all of it: its scalars are in the uniforms. */
  again(words: Uint32Array): Plan["submits"] {
    const last = this.#last;
    return last?.words === words && last.firstSlot === 0 && this.#epoch === this.#buffers.epoch
      ? last.submits : undefined;
  }

  /** Call when a list was not encoded to its end. */
  broken(): void {
    this.#last = undefined;
  }

  clear(): void {
    this.#plans.clear();
    this.#groups.clear();
    this.#last = undefined;
    this.#words = 0;
    this.#epoch = this.#buffers.epoch;
  }

  #decode(words: Uint32Array, firstSlot: number): KnownPlan {
    const steps: (Launch | Move)[] = [];
    const fixed = new Uint32Array(words.length);
    let slot = firstSlot;
    let taken = 0;
    for (let at = 0; at < words.length;) {
      const head = words[at]!;
      const end = at + (head >>> 8);
      if (end === at || end > words.length) throw new ModelError(`the command list breaks off at word ${at}`);
      fixed[at] = ~0;
      const opcode = head & 0xff;
      if (opcode === OPCODE.dispatch) {
        const launch = this.#launch(words, at + 1, end, slot);
        fixed[at + 1] = ~0;
        fixed.fill(~0, at + 5, launch.scalars);
        if (launch.slot !== NO_SLOT) {
          slot = Uniforms.after(slot);
          taken++;
        }
        steps.push(launch);
      } else if (opcode === OPCODE.copy || opcode === OPCODE.fill) {
        steps.push({ opcode, at: at + 1 });
      } else {
        throw new ModelError(`the command list has the unknown opcode ${opcode}: update tvm-webgpu`);
      }
      at = end;
    }
    const launches = steps.filter((step): step is Launch => step.kernel !== undefined);
    const pieces = Math.ceil(launches.length / MOST_PER_SUBMIT);
    const perSubmit = Math.ceil(launches.length / pieces);
    const crowded = taken > SLOTS;
    const submits = crowded || launches.length < steps.length ? undefined
      : Array.from({ length: pieces }, (_, i) => launches.slice(i * perSubmit, (i + 1) * perSubmit));
    return { steps, fresh: true, firstSlot, nextSlot: slot, perSubmit, submits, crowded, words, fixed };
  }

  #launch(words: Uint32Array, at: number, end: number, slot: number): Launch {
    const kernel = this.#kernels[words[at]!];
    if (!kernel) throw new ModelError(`the command list names kernel ${words[at]} of ${this.#kernels.length}`);
    const handles = at + 4;
    const scalars = handles + kernel.bindings;
    if (scalars + kernel.scalars !== end) {
      throw new ModelError(`a launch of "${kernel.name}" has ${end - handles} arguments`);
    }
    const taken = kernel.scalars > 0 ? slot % SLOTS : NO_SLOT;
    const again = taken === 0 && slot > 0;
    const group = this.#group(kernel, words.slice(handles, scalars), taken);
    const { pipeline } = kernel;
    return readGrid({ kernel, pipeline, group, x: 0, y: 0, z: 0, at: at + 1, scalars, end, slot: taken, again }, words);
  }

  #group(kernel: CompiledKernel, handles: Uint32Array, slot: number): GPUBindGroup {
    const { layout } = kernel;
    let hash = Math.imul(layout.id, 31) + slot;
    for (const handle of handles) hash = (Math.imul(hash, 31) + (handle >>> 6)) | 0;
    let bucket = this.#groups.get(hash);
    if (!bucket) this.#groups.set(hash, (bucket = []));
    const known = bucket.find((each) => each.layout === layout && each.slot === slot && equal(each.handles, handles));
    if (known) return known.group;
    const resources: GPUBufferBinding[] = Array.from(handles, (handle) => {
      const { buffer, offset, size } = this.#buffers.get(handle);
      return { buffer, offset, size };
    });
    if (slot !== NO_SLOT) resources.push(this.#uniforms!.binding(slot));
    const group = bindGroup(this.#device, layout.group, resources, kernel.name);
    bucket.push({ layout, handles, slot, group });
    this.groupsMade++;
    return group;
  }
}

function readGrid(launch: Launch, words: Uint32Array): Launch {
  launch.x = words[launch.at]!;
  launch.y = words[launch.at + 1]!;
  launch.z = words[launch.at + 2]!;
  return launch;
}

/** In Node every argument takes time. */
export function dispatch(pass: GPUComputePassEncoder, { x, y, z }: Launch): void {
  if (z !== 1) pass.dispatchWorkgroups(x, y, z);
  else if (y !== 1) pass.dispatchWorkgroups(x, y);
  else pass.dispatchWorkgroups(x);
}

/** The handles that a list names, each once. */
export function handlesOf(words: Uint32Array, kernels: readonly CompiledKernel[]): Set<number> {
  const found = new Set<number>();
  for (const at of handlePlaces(words, kernels)) found.add(words[at]!);
  return found;
}

/** The list with other handles for some. */
export function renamed(
  words: Uint32Array, kernels: readonly CompiledKernel[], names: ReadonlyMap<number, number>,
): Uint32Array {
  const copy = words.slice();
  for (const at of handlePlaces(words, kernels)) copy[at] = names.get(words[at]!) ?? words[at]!;
  return copy;
}

/** Where the handles of a list stand that was encoded before, so that it is one. */
function* handlePlaces(words: Uint32Array, kernels: readonly CompiledKernel[]): Generator<number> {
  for (let at = 0; at < words.length; at += words[at]! >>> 8) {
    const opcode = words[at]! & 0xff;
    if (opcode === OPCODE.dispatch) {
      const { bindings } = kernels[words[at + 1]!]!;
      for (let i = 0; i < bindings; i++) yield at + 5 + i;
    } else {
      yield at + 1;
      if (opcode === OPCODE.copy) yield at + 3;
    }
  }
}

function matches({ words: own, fixed }: KnownPlan, words: Uint32Array): boolean {
  for (let i = 0; i < own.length; i++) if ((own[i]! ^ words[i]!) & fixed[i]!) return false;
  return true;
}

function equal(a: Uint32Array, b: Uint32Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
