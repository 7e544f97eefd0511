/** @file A result in, an element that shows it out: as scores, as a picture, or as a table, whichever it may be. */
import { writeNpy } from "../cli/npy.ts";
import type { CpuTensor } from "../model.ts";
import { button, choice, download, make } from "./dom.ts";
import { pictureView, planesOf } from "./picture_view.ts";
import { rowsOf, scoreView } from "./score_view.ts";
import { tableView } from "./table_view.ts";
import { isFloat, numbers } from "./values.ts";

/** A result as it is shown, and what alters how. */
export interface Shown {
  readonly body: readonly HTMLElement[];
  readonly controls: readonly HTMLElement[];
}

type View = (tensor: CpuTensor, values: Float64Array) => Shown;

/** Ways to show a tensor, the best first; the last shows any. */
const VIEWS: Readonly<Record<string, { readonly fits: (tensor: CpuTensor) => boolean; readonly view: View }>> = {
  scores: {
    fits: ({ dtype, shape }) => isFloat(dtype) && shape.length > 0 && shape.length <= 2 && rowsOf(shape).classes > 1,
    view: scoreView,
  },
  picture: { fits: ({ shape }) => planesOf(shape) !== undefined, view: pictureView },
  table: { fits: () => true, view: tableView },
};

/** What the user chose for results of a name, kept from run to run. */
const chosen = new Map<string, string>();

export function resultView(entry: string, name: string, tensor: CpuTensor): HTMLElement {
  const values = numbers(tensor.dtype, tensor.data);
  const fitting = Object.keys(VIEWS).filter((key) => VIEWS[key]!.fits(tensor));
  const key = `${entry} ${name}`;
  const as = choice(fitting, `How to show ${name}`, chosen.get(key) ?? preferred(tensor, fitting));
  const body = make("div", { className: "stack" });
  const row = make("div", { className: "row" });
  const show = (): void => {
    const shown = VIEWS[as.value]!.view(tensor, values);
    body.replaceChildren(...shown.body);
    row.replaceChildren(...(fitting.length > 1 ? [as] : []), ...shown.controls, save);
  };
  as.addEventListener("change", () => {
    chosen.set(key, as.value);
    show();
  });
  const save = button("Save .npy", () => {
    download(`${name.replace(/[^\w.-]+/g, "_")}.npy`, writeNpy(tensor), "application/octet-stream");
  });
  show();
  const type = `${tensor.dtype}[${tensor.shape.join(", ")}]`;
  return make("div", { className: "field" },
    make("div", { className: "head" }, make("b", {}, name), make("span", { className: "type" }, type)),
    body, row);
}

/** A vector is scores; a matrix with two large sides is a picture only if somebody says so. */
function preferred({ shape }: CpuTensor, fitting: readonly string[]): string {
  if (fitting.includes("scores") && (rowsOf(shape).rows === 1 || rowsOf(shape).classes <= 64)) return "scores";
  return fitting.includes("picture") && shape.length > 2 ? "picture" : "table";
}
