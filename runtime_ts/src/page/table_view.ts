/** @file Any tensor in, statistics and its first rows out, the last axis across. */
import type { CpuTensor } from "../model.ts";
import { make, short, table } from "./dom.ts";
import { isFloat } from "./values.ts";
import type { Shown } from "./views.ts";

const MOST_ROWS = 12;
const MOST_COLUMNS = 8;

export function tableView(tensor: CpuTensor, values: Float64Array): Shown {
  return { body: [valuesOf(tensor, values)], controls: [] };
}

function valuesOf({ dtype, shape }: CpuTensor, values: Float64Array): HTMLElement {
  const write = isFloat(dtype) ? short : String;
  if (values.length === 0) return make("p", { className: "soft" }, "no elements");
  if (values.length === 1) return make("p", { className: "time" }, write(values[0]!));
  const across = shape.at(-1) ?? 1;
  const rows = values.length / across;
  const columns = Math.min(across, MOST_COLUMNS);
  const shown = Array.from({ length: Math.min(rows, MOST_ROWS) }, (_, row) =>
    [indexOf(row, shape), ...Array.from(values.subarray(row * across, row * across + columns), write),
      ...(columns < across ? ["\u2026"] : [])]);
  const head = [{ title: "" }, ...Array.from({ length: shown[0]!.length - 1 }, (_, i) =>
    ({ title: i < columns ? String(i) : "", numeric: true }))];
  const hidden = values.length - shown.length * columns;
  const note = make("p", { className: "soft" }, `${hidden.toLocaleString("en")} more; save them as .npy`);
  return make("div", { className: "stack" }, statistics(values), table(head, shown), ...(hidden > 0 ? [note] : []));
}

/** The indices of a row in all axes but the last. */
function indexOf(row: number, shape: readonly number[]): string {
  const indices: number[] = [];
  for (const extent of shape.slice(0, -1).reverse()) {
    indices.unshift(row % extent);
    row = Math.floor(row / extent);
  }
  return indices.join(", ");
}

function statistics(values: Float64Array): HTMLElement {
  const finite = values.filter(Number.isFinite);
  const least = finite.reduce((a, b) => Math.min(a, b), Infinity);
  const most = finite.reduce((a, b) => Math.max(a, b), -Infinity);
  const mean = finite.reduce((a, b) => a + b, 0) / finite.length;
  const odd = values.length - finite.length;
  const text = finite.length > 1 ? `from ${short(least)} to ${short(most)}, mean ${short(mean)}` : "";
  return make("p", { className: "soft" }, text + (odd > 0 ? `; ${odd} not finite` : ""));
}
