/** @file Times of runs and a profile in, charts and tables out. */
import type { KernelProfile, Profile } from "../profile.ts";
import { button, download, facts, make, median, table, time } from "./dom.ts";

/** The times of an entry's runs since the page was opened. */
export interface Times {
  readonly first: number;
  /** Of the last run, or of the last series. */
  readonly last: readonly number[];
}

export function timing({ first, last }: Times): HTMLElement[] {
  const sorted = [...last].sort((a, b) => a - b);
  const series = last.length > 1;
  const line = make("p", { className: "time" }, time(median(last)), make("small", {},
    series ? ` median of ${last.length} runs, from array to array` : " the last run, from array to array"));
  const pairs: [string, string][] = [["First run", time(first)]];
  if (series) pairs.push(["Fastest", time(sorted[0]!)], ["Slowest", time(sorted.at(-1)!)],
    ["Runs a second", (1000 / median(last)).toFixed(median(last) > 100 ? 1 : 0)]);
  const list = make("dl", { className: "facts" }, ...facts(pairs));
  return series ? [line, chart(last), list] : [line, list];
}

/** A bar for each run. */
function chart(ms: readonly number[]): HTMLElement {
  const most = Math.max(...ms);
  const label = `Time of each run, up to ${time(most)}`;
  return make("div", { className: "spark", role: "img", ariaLabel: label }, ...ms.map((value, i) => {
    const bar = make("i", { title: `run ${i + 1}: ${time(value)}` });
    bar.style.setProperty("--share", String(value / most));
    return bar;
  }));
}

const MOST_KERNELS = 15;

export function profileView(profile: Profile): HTMLElement[] {
  const { kernels, launches, runs, ms, span, resolution } = profile;
  if (launches.length === 0) return [make("p", { className: "soft" }, "This entry launches no kernels.")];
  const all = make("div", { className: "stack" });
  const show = (count: number): void => {
    const rest = kernels.length - count;
    const more = button(`Show the other ${rest}`, () => { show(kernels.length); });
    const row = make("div", { className: "row" }, ...(rest > 0 ? [more] : []), save);
    all.replaceChildren(kernelTable(kernels.slice(0, count)), row);
  };
  const pairs: [string, string][] = [
    ["Launches", String(launches.length)], ["Sum of the kernels", time(ms)], ["From first to last", time(span)],
    ["Averages of", `${runs} runs`],
  ];
  const notes = resolution >= 0.01
    ? [make("p", { className: "soft" }, `The GPU's clock steps by ${time(resolution)} here: short kernels are rough.`)]
    : [];
  const save = button("Save the trace", () => {
    download(`${profile.model}-${profile.entry}.trace.json`, profile.trace(), "application/json");
  });
  save.title = "For chrome://tracing or ui.perfetto.dev";
  show(MOST_KERNELS);
  const list = make("dl", { className: "facts" }, ...facts(pairs));
  const title = make("h3", {}, "Kernels on the GPU");
  return [title, strip(profile), list, all, ...notes];
}

/** The launches of a run side by side, as wide as they are long. */
function strip({ launches, ms }: Profile): HTMLElement {
  const label = `${launches.length} launches in the order of execution`;
  return make("div", { className: "strip", role: "img", ariaLabel: label }, ...launches.map((launch) => {
    const part = make("i", { title: `${launch.kernel}: ${time(launch.ms)}` });
    part.style.setProperty("--share", String(ms > 0 ? launch.ms / ms : 1 / launches.length));
    return part;
  }));
}

function kernelTable(kernels: readonly KernelProfile[]): HTMLElement {
  const rate = (amount: number | undefined, ms: number): string => {
    if (amount === undefined || ms <= 0) return "\u2013";
    const value = amount / ms / 1e6;
    return value.toFixed(value < 10 ? 3 : 1);
  };
  // Packages of earlier versions do not say what a kernel computes and moves.
  const rates = (["flops", "bytes"] as const).filter((field) => kernels.some((kernel) => kernel[field] !== undefined));
  const titles = { flops: "GFLOP/s", bytes: "GB/s" };
  const columns = [{ title: "Kernel" }, { title: "Share" }, { title: "Time", numeric: true },
    { title: "Launches", numeric: true }, ...rates.map((field) => ({ title: titles[field], numeric: true }))];
  return table(columns, kernels.map((profile) => {
    const { kernel, share, ms, launches } = profile;
    const fill = make("div", { className: "fill" });
    fill.style.setProperty("--share", String(share));
    const bar = make("div", { className: "track", title: `${(100 * share).toFixed(1)} %` }, fill);
    const numbers = rates.map((field) => rate(profile[field], ms));
    return [make("code", { title: kernel }, kernel), bar, time(ms), String(launches), ...numbers];
  }));
}
