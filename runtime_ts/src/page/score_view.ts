/** @file Scores of classes in, the best of them as bars out, with names from a file of labels. */
import type { CpuTensor } from "../model.ts";
import { choice, fileButton, make, short } from "./dom.ts";
import type { Shown } from "./views.ts";

const MOST_BARS = 10;

/** Names of classes, one a line of the file that was chosen last; for every result with as many classes. */
let labels: readonly string[] = [];

export function rowsOf(shape: readonly number[]): { rows: number; classes: number } {
  const classes = shape.at(-1) ?? 1;
  return { classes, rows: shape.length > 1 ? shape[0]! : 1 };
}

/** The last axis as scores of classes, one row of the tensor at a time. */
export function scoreView({ shape }: CpuTensor, values: Float64Array): Shown {
  const { rows, classes } = rowsOf(shape);
  const list = make("ol", { className: "bars" });
  const row = choice(Array.from({ length: rows }, (_, i) => `row ${i}`), "Row");
  const scale = choice(["softmax", "as they are"], "Scale", isDistribution(values.subarray(0, classes)) ? "as they are"
    : "softmax");
  const draw = (): void => {
    const from = Math.max(row.selectedIndex, 0) * classes;
    const raw = values.subarray(from, from + classes);
    list.replaceChildren(...bars(scale.value === "softmax" ? softmax(raw) : raw));
  };
  row.addEventListener("change", draw);
  scale.addEventListener("change", draw);
  draw();
  const names = fileButton("Labels", ".txt,.csv,.json,text/plain", (file) => {
    void file.text().then((text) => {
      labels = parseLabels(text);
      draw();
    });
  });
  names.title = "A file with a name for each class, one a line, or a JSON list";
  return { body: [list], controls: [scale, ...(rows > 1 ? [row] : []), names] };
}

function parseLabels(text: string): string[] {
  if (!text.trimStart().startsWith("[")) return text.trimEnd().split(/\r?\n/);
  try {
    return (JSON.parse(text) as unknown[]).map(String);
  } catch {
    return text.trimEnd().split(/\r?\n/);
  }
}

function bars(values: Float64Array): HTMLElement[] {
  const best = Array.from(values.keys()).sort((a, b) => values[b]! - values[a]!).slice(0, MOST_BARS);
  const isShare = isDistribution(values);
  const most = isShare ? 1 : Math.max(...best.map((i) => Math.abs(values[i]!)), Number.MIN_VALUE);
  return best.map((index) => {
    const value = values[index]!;
    const fill = make("div", { className: "fill" });
    fill.style.setProperty("--share", String(Math.max(0, value / most)));
    const text = isShare ? `${(value * 100).toFixed(1)} %` : short(value);
    const name = make("span", { className: "name" }, labels[index] ?? String(index));
    name.title = `class ${index}`;
    return make("li", {}, name, make("div", { className: "track" }, fill), make("span", {}, text));
  });
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
