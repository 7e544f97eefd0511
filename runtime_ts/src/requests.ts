/** @file What callers can ask of a model, and a run as it is handed on within. */
import type { LaunchTimer } from "./commands.ts";
import type { Entry } from "./manifest.ts";
import type { Argument, Input } from "./tensor.ts";

export type Inputs = Readonly<Record<string, Input>>;

export interface RunOptions {
  /** The entry function's name; if left out "main", or the only one. */
  readonly entry?: string;
  /** Calls the run off: also between its launches, after which the objects given to it are in no known state. */
  readonly signal?: AbortSignal;
  /** Where tensors are left: "cpu" (the default) reads them back, "gpu" gives them as `GpuResult`. */
  readonly outputs?: "cpu" | "gpu";
}

export interface RehearsalOptions extends RunOptions {
  readonly rehearse?: boolean;
}

export interface BindOptions {
  readonly entry?: string;
  /** Buffers for outputs, by name, with the usages STORAGE, COPY_SRC and COPY_DST. */
  readonly outputs?: Readonly<Record<string, GPUBuffer>>;
}

export interface ProfileOptions {
  readonly entry?: string;
  readonly signal?: AbortSignal;
  /** Runs over which times are averaged (default 5), after one that is not counted. */
  readonly runs?: number;
}

/** A run whose inputs are checked. */
export interface RunRequest {
  readonly entry: Entry;
  readonly args: readonly Argument[];
  readonly outputs: "cpu" | "gpu";
  readonly signal?: AbortSignal | undefined;
  readonly timer?: LaunchTimer | undefined;
  /** Do all but the launches themselves: results mean nothing. */
  readonly rehearse?: boolean | undefined;
  /** Told when its commands are on their way, or will not be. */
  readonly encoded?: () => void;
}
