/** @file Bytes done, phase by phase, in; what a progress bar shows out. All totals are known from the start. */

const PHASES = ["download", "verify", "upload", "compile"] as const;

export type Phase = (typeof PHASES)[number];

export interface PhaseProgress {
  readonly done: number;
  readonly total: number;
}

/** Bytes of files that have arrived, of all that are needed; and the same for each kind of work that loading does. */
export interface Progress {
  readonly loaded: number;
  readonly total: number;
  /** Bytes: of files arrived (from the cache too), of files verified, of parameters on the GPU, of code compiled. */
  readonly phases: Readonly<Record<Phase, PhaseProgress>>;
}

/** Takes what was done of a phase. */
export interface Tally {
  add(phase: Phase, bytes: number): void;
}

/** For work of which nobody is told. */
export const SILENT: Tally = { add: () => undefined };

export class Meter implements Tally {
  readonly #totals: Readonly<Record<Phase, number>>;
  readonly #done: Record<Phase, number> = { download: 0, verify: 0, upload: 0, compile: 0 };
  readonly #listener: ((progress: Progress) => void) | undefined;

  constructor(totals: Readonly<Record<Phase, number>>, listener?: (progress: Progress) => void) {
    this.#totals = totals;
    this.#listener = listener;
  }

  add(phase: Phase, bytes: number): void {
    this.#done[phase] += bytes;
    if (!this.#listener) return;
    const phases = Object.fromEntries(PHASES.map((name) => [
      name, { done: this.#done[name], total: this.#totals[name] }])) as Record<Phase, PhaseProgress>;
    this.#listener({ loaded: phases.download.done, total: phases.download.total, phases });
  }
}
