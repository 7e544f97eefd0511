/** @file A module's memory in, the part of WASI preview 1 that model code may call out: output, clock, random, exit. */

const SUCCESS = 0;
const BADF = 8;
const NOSYS = 52;

/** Thrown out of the wasm by proc_exit: the instance can't be entered again. */
export class ExitError extends Error {
  constructor(readonly code: number) {
    super(`the model's code ended with exit status ${code}`);
  }
}

export interface WasiHost {
  memory(): WebAssembly.Memory;
  /** A line that the model's code printed, without its end. */
  print(line: string): void;
  /** Told of each call. */
  called(): void;
}

/**
 * The imports of `wasi_snapshot_preview1` that `names` asks for. There are no files, arguments or environment;
 * a function that needs more than there is answers EBADF or ENOSYS, as WASI has it.
 */
export function wasiImports(names: readonly string[], host: WasiHost): Record<string, (...args: never[]) => unknown> {
  const table = wasiFunctions(host);
  return Object.fromEntries(names.map((name) => {
    const call = table[name] ?? (() => (name.startsWith("fd_") ? BADF : NOSYS));
    return [name, (...args: never[]) => {
      host.called();
      return call(...args);
    }];
  }));
}

function wasiFunctions(host: WasiHost): Record<string, (...args: never[]) => unknown> {
  const view = (): DataView => new DataView(host.memory().buffer);
  const bytes = (at: number, length: number): Uint8Array => new Uint8Array(host.memory().buffer, at, length);
  const write = lineWriter((line) => { host.print(line); });
  const nothing = (countAt: number, sizeAt: number): number => {
    view().setUint32(countAt, 0, true);
    view().setUint32(sizeAt, 0, true);
    return SUCCESS;
  };
  return {
    fd_write(fd: number, vectors: number, count: number, writtenAt: number): number {
      if (fd !== 1 && fd !== 2) return BADF;
      let written = 0;
      for (let i = 0; i < count; i++) {
        const length = view().getUint32(vectors + 8 * i + 4, true);
        write(bytes(view().getUint32(vectors + 8 * i, true), length));
        written += length;
      }
      view().setUint32(writtenAt, written, true);
      return SUCCESS;
    },
    clock_time_get(id: number, _precision: bigint, timeAt: number): number {
      const ms = id === 0 ? Date.now() : performance.now();
      view().setBigUint64(timeAt, BigInt(Math.round(ms * 1e6)), true);
      return SUCCESS;
    },
    random_get(at: number, length: number): number {
      const most = 65_536; // of one getRandomValues
      for (let i = 0; i < length; i += most) {
        // Drawn aside: the browser's function refuses memory that may be shared.
        const drawn = crypto.getRandomValues(new Uint8Array(Math.min(most, length - i)));
        bytes(at + i, drawn.length).set(drawn);
      }
      return SUCCESS;
    },
    proc_exit(code: number): never {
      throw new ExitError(code);
    },
    environ_sizes_get: nothing,
    environ_get: () => SUCCESS,
    args_sizes_get: nothing,
    args_get: () => SUCCESS,
    sched_yield: () => SUCCESS,
  };
}

/** Bytes as they come in, whole lines out. */
function lineWriter(print: (line: string) => void): (bytes: Uint8Array) => void {
  const decoder = new TextDecoder();
  let open = "";
  return (bytes) => {
    const lines = (open + decoder.decode(bytes.slice(), { stream: true })).split("\n");
    open = lines.pop() ?? "";
    lines.forEach(print);
  };
}
