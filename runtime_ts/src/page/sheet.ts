/** @file A sheet to draw on, with mouse, pen or finger. */
import { button, make } from "./dom.ts";

export interface Sheet {
  readonly element: HTMLElement;
  readonly canvas: HTMLCanvasElement;
}

/** White ink on black, as data sets of written characters have it, or the other way round. */
export function sheet(width: number, height: number, lightOnDark: boolean): Sheet {
  const canvas = make("canvas", { className: "view", width, height, ariaLabel: "Draw here" });
  const context = canvas.getContext("2d")!;
  const [ink, paper] = lightOnDark ? ["white", "black"] : ["black", "white"];
  const clear = (): void => {
    context.fillStyle = paper;
    context.fillRect(0, 0, width, height);
    hint.hidden = false;
  };
  const hint = make("span", { className: lightOnDark ? "hint light" : "hint" }, "Draw here");
  const at = (event: PointerEvent): [number, number] => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * width / box.width, (event.clientY - box.top) * height / box.height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    hint.hidden = true;
    context.strokeStyle = ink;
    context.lineWidth = Math.max(width, height) / 12;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...at(event));
    context.lineTo(...at(event));
    context.stroke();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    for (const step of event.getCoalescedEvents()) context.lineTo(...at(step));
    context.stroke();
  });
  clear();
  const wipe = button("Clear", clear);
  wipe.className = "wipe";
  return { element: make("div", { className: "sheet" }, canvas, hint, wipe), canvas };
}
