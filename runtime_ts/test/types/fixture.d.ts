// Made by `tvm-webgpu types` for the package "fixture": make it again, don't edit it.
import type { IntOutput, ObjectOf, TensorInput, TensorOutput } from "tvm-webgpu";

/**
 * The entry functions of fixture: `const model = await loadModel<Fixture>(url)`.
 * An extent that has a name is chosen by the inputs; within one call a name has one value.
 */
export interface Fixture {
  main: {
    inputs: {
      /** float32[n, 4] */
      x: TensorInput<"float32", [n: number, 4]>;
    };
    outputs: {
      /** float32[n, 4] */
      y: TensorOutput<"float32", [n: number, 4]>;
      /** float32[n, 4] */
      z: TensorOutput<"float32", [n: number, 4]>;
    };
  };
  echo: {
    inputs: {
      /** bool[n] */
      bits: TensorInput<"bool", [n: number]>;
      /** int64[n] */
      long: TensorInput<"int64", [n: number]>;
      /** float16[3] */
      half: TensorInput<"float16", [3]>;
      /** uint8[m, 1] */
      byte: TensorInput<"uint8", [m: number, 1]>;
      /** float32[] */
      scalar: TensorInput<"float32", []>;
    };
    outputs: {
      /** bool[n] */
      bits: TensorOutput<"bool", [n: number]>;
      /** int64[n] */
      long: TensorOutput<"int64", [n: number]>;
      /** float16[3] */
      half: TensorOutput<"float16", [3]>;
      /** uint8[m, 1] */
      byte: TensorOutput<"uint8", [m: number, 1]>;
      /** float32[] */
      scalar: TensorOutput<"float32", []>;
    };
  };
  start: {
    inputs: Record<string, never>;
    outputs: {
      /** object */
      counter: ObjectOf<"fixture">;
    };
  };
  step: {
    inputs: {
      /** object */
      counter: ObjectOf<"fixture">;
      /** int */
      by: number;
    };
    outputs: {
      /** object */
      counter: ObjectOf<"fixture">;
      /** int32[2] */
      value: TensorOutput<"int32", [2]>;
      /** int */
      live: IntOutput;
    };
  };
  identity: {
    inputs: {
      /** float32[n, 4] */
      x: TensorInput<"float32", [n: number, 4]>;
    };
    outputs: {
      /** float32[n, 4] */
      x: TensorOutput<"float32", [n: number, 4]>;
    };
  };
  refuse: {
    inputs: Record<string, never>;
    outputs: Record<string, never>;
  };
  trap: {
    inputs: Record<string, never>;
    outputs: Record<string, never>;
  };
  out_of_range: {
    inputs: Record<string, never>;
    outputs: Record<string, never>;
  };
  print: {
    inputs: Record<string, never>;
    outputs: Record<string, never>;
  };
  exit: {
    inputs: Record<string, never>;
    outputs: Record<string, never>;
  };
  too_large: {
    inputs: Record<string, never>;
    outputs: Record<string, never>;
  };
  chain: {
    inputs: {
      /** float32[n, 4] */
      x: TensorInput<"float32", [n: number, 4]>;
      /** int */
      times: number;
    };
    outputs: {
      /** float32[n, 4] */
      y: TensorOutput<"float32", [n: number, 4]>;
    };
  };
  first_sum: {
    inputs: {
      /** float32[n, 4] */
      x: TensorInput<"float32", [n: number, 4]>;
    };
    outputs: {
      /** int */
      sum: IntOutput;
    };
  };
}
