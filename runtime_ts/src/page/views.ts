/** @file A run's results in, elements that show them out: bars for scores, else statistics and the first values. */
import type { DType, TypedArray } from "../dtype.ts";
import type { CpuTensor } from "../model.ts";
import { choice, make } from "./dom.ts";

const MOST_BARS = 10;
const MOST_VALUES = 24;

/** A field for one result: scores can be shown as they are or as probabilities. */
export function resultView(name: string, tensor: CpuTensor): HTMLElement {
  const type = `${tensor.dtype}[${tensor.shape.join(", ")}]`;
  const head = make("div", { className: "head" }, make("b", {}, name), make("span", { className: "type" }, type));
  const values = numbers(tensor.dtype, tensor.data);
  const field = make("div", { className: "field" }, head);
  const classes = tensor.shape.at(-1) ?? 1;
  if (tensor.shape.length <= 2 && tensor.shape.length > 0 && classes > 1 && tensor.dtype.includes("float")) {
    field.append(...scores(values, classes));
  } else {
    field.append(statistics(values), make("p", { className: "values" }, preview(values, tensor.dtype)));
  }
  return field;
}

/** The last axis as scores of classes, one row of the tensor at a time. */
function scores(values: Float64Array, classes: number): HTMLElement[] {
  const rows = values.length / classes;
  const list = make("ol", { className: "bars" });
  const row = choice(Array.from({ length: rows }, (_, i) => `row ${i}`), "Row");
  const first = values.subarray(0, classes);
  const scale = choice(["softmax", "as they are"], "Scale", isDistribution(first) ? "as they are" : "softmax");
  const draw = (): void => {
    const from = Math.max(row.selectedIndex, 0) * classes;
    const raw = values.subarray(from, from + classes);
    list.replaceChildren(...bars(scale.value === "softmax" ? softmax(raw) : raw));
  };
  row.addEventListener("change", draw);
  scale.addEventListener("change", draw);
  draw();
  const controls = make("div", { className: "row" }, scale);
  if (rows > 1) controls.append(row);
  return [controls, list];
}

function bars(values: Float64Array): HTMLElement[] {
  const best = Array.from(values.keys()).sort((a, b) => values[b]! - values[a]!).slice(0, MOST_BARS);
  const isShare = isDistribution(values);
  const scale = isShare ? 1 : Math.max(...best.map((i) => Math.abs(values[i]!)), Number.MIN_VALUE);
  return best.map((index) => {
    const value = values[index]!;
    const fill = make("div", { className: "fill" });
    fill.style.setProperty("--share", String(Math.max(0, value / scale)));
    const text = isShare ? `${(value * 100).toFixed(1)} %` : short(value);
    const track = make("div", { className: "track" }, fill);
    return make("li", {}, make("span", {}, String(index)), track, make("span", {}, text));
  });
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

function preview(values: Float64Array, dtype: DType): string {
  const write = dtype.includes("float") ? short : String;
  const more = values.length - MOST_VALUES;
  const shown = Array.from(values.subarray(0, MOST_VALUES), write).join("  ");
  return shown + (more > 0 ? `  … ${more.toLocaleString()} more` : "");
}

function isDistribution(values: Float64Array): boolean {
  return values.every((value) => value >= 0) && Math.abs(values.reduce((a, b) => a + b, 0) - 1) < 1e-3;
}

function softmax(values: Float64Array): Float64Array {
  const most = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = values.map((value) => Math.exp(value - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

function short(value: number): string {
  return String(Number(value.toPrecision(4)));
}

function numbers(dtype: DType, data: TypedArray): Float64Array {
  if (data instanceof Uint16Array && dtype === "float16") return Float64Array.from(data, halfValue);
  if (dtype === "bfloat16") {
    return Float64Array.from(data as Uint16Array, (bits) => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!);
  }
  return Float64Array.from(data as ArrayLike<number>, Number);
}

function halfValue(bits: number): number {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, bits >> 10 & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

/** The time of one run, or of many as their median and a chart of each. */
export function timing(ms: readonly number[]): HTMLElement[] {
  const sorted = [...ms].sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const range = `${time(sorted[0]!)} to ${time(sorted.at(-1)!)}`;
  const note = ms.length > 1 ? `median of ${ms.length} runs, ${range}` : "one run";
  const line = make("p", { className: "time" }, `${time(median)} `, make("small", {}, note));
  if (ms.length === 1) return [line];
  const chart = make("div", { className: "spark", ariaHidden: "true" });
  for (const value of ms) {
    const bar = make("i");
    bar.style.height = `${(value / sorted.at(-1)!) * 100}%`;
    chart.append(bar);
  }
  return [line, chart];
}

function time(ms: number): string {
  return ms < 10 ? `${ms.toFixed(2)} ms` : ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(2)} s`;
}
