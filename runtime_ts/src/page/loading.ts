/** @file Progress of loading in, a bar for each phase out. */
import type { Phase, Progress } from "../progress.ts";
import { make, size } from "./dom.ts";

const NAMES: Readonly<Record<Phase, string>> = {
  download: "Download", verify: "Verify", upload: "To the GPU", compile: "Compile",
};

/** Fills `element` with the bars, and gives what takes progress. */
export function loadingBars(element: HTMLElement): (progress: Progress) => void {
  const rows = Object.entries(NAMES).map(([phase, name]) => {
    const bar = make("progress", { max: 1, value: 0, ariaLabel: name });
    const told = make("span", { className: "soft" }, "\u2013");
    element.append(make("div", { className: "phase" }, make("span", {}, name), bar, told));
    return { phase: phase as Phase, bar, told };
  });
  return ({ phases }) => {
    for (const { phase, bar, told } of rows) {
      const { done, total } = phases[phase];
      bar.value = total > 0 ? done / total : 1;
      told.textContent = done < total ? `${size(done)} of ${size(total)}` : size(total);
    }
  };
}
