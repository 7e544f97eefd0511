/** @file The page: what is drawn goes to the model, and what the model says goes to the bars. */
import { Sheet, refine } from "./pen.js";
import { preprocess } from "./preprocess.js";

const RUNTIME = "./tvm-webgpu/tvm-webgpu.mjs";
const PACKAGE = "./model/";

const find = (id) => document.getElementById(id);

/** Rows of the list, one for each digit, and how to set them. */
function makeBars(list) {
  const rows = Array.from({ length: 10 }, (_, digit) => {
    const row = document.createElement("li");
    row.innerHTML = `<span>${digit}</span><div class="track"><div class="fill"></div></div><span class="share"></span>`;
    list.append(row);
    return row;
  });
  return (probabilities) => {
    const best = probabilities.indexOf(Math.max(...probabilities));
    rows.forEach((row, digit) => {
      const share = probabilities[digit] ?? 0;
      row.style.setProperty("--p", share.toFixed(4));
      row.classList.toggle("best", digit === best);
      row.querySelector(".share").textContent = probabilities.length ? `${(share * 100).toFixed(1)} %` : "";
    });
    return best;
  };
}

function softmax(logits) {
  const most = Math.max(...logits);
  const powers = Array.from(logits, (value) => Math.exp(value - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

function verdict(share) {
  return share > 0.9 ? "No doubt about it" : share > 0.6 ? "Quite sure" : "Hard to tell";
}

/** What the model is given, as a picture in the colour of the ink. */
function showSeen(canvas, picture) {
  const [red, green, blue] = getComputedStyle(canvas).color.match(/\d+/g).map(Number);
  const pixels = new ImageData(8, 8);
  picture.forEach((ink, i) => pixels.data.set([red, green, blue, ink * 255], 4 * i));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

async function showExamples(group, sheet) {
  const examples = await (await fetch("./examples.json")).json();
  examples.forEach((strokes, digit) => {
    const button = document.createElement("button");
    const path = strokes.map((stroke) => `M${refine(stroke, 4).map(([x, y]) => `${x * 100} ${y * 100}`).join("L")}`);
    button.type = "button";
    button.ariaLabel = `Draw a ${digit}`;
    button.innerHTML = `<svg viewBox="10 0 80 100" aria-hidden="true"><path d="${path.join("")}"/></svg>`;
    button.addEventListener("click", () => void sheet.play(strokes));
    group.append(button);
  });
}

function kilobytes(bytes) {
  return `${(bytes / 1000).toFixed(bytes < 100_000 ? 1 : 0)} kB`;
}

function describeAdapter({ description, vendor, architecture, device }) {
  return description || device || [vendor, architecture].filter(Boolean).join(" ") || "WebGPU";
}

/** The median: single readings are disturbed by whatever else the page does. */
function median(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

/** Reads again and again while the drawing changes, never twice at once. */
class Reader {
  #model;
  #input;
  #busy = false;
  #times = [];

  constructor(model) {
    this.#model = model;
  }

  /** @returns {Promise<number[] | undefined>} probabilities; undefined if a reading under way will take this one */
  async read(input) {
    this.#input = input;
    if (this.#busy) return undefined;
    this.#busy = true;
    try {
      let logits;
      while (this.#input) {
        const data = this.#input;
        this.#input = undefined;
        const start = performance.now();
        ({ logits } = await this.#model.run({ image: { data, shape: [1, 1, 8, 8] } }));
        this.#times = [...this.#times.slice(-30), performance.now() - start];
      }
      return softmax(logits.data);
    } finally {
      this.#busy = false;
    }
  }

  get time() {
    return median(this.#times);
  }
}

/** What stands in place of a verdict while there is none. */
let waiting = "Loading the model …";

/** Tells the user why there will be no readings. */
function say(message) {
  waiting = "No readings";
  find("verdict").textContent = waiting;
  find("notice").textContent = message;
  find("notice").hidden = false;
}

async function start() {
  let reader;
  const setBars = makeBars(find("bars"));

  const changed = async () => {
    document.body.classList.toggle("drawn", !sheet.empty);
    find("clear").disabled = sheet.empty;
    const { side, values } = sheet.ink();
    const picture = preprocess(values, side, side);
    showSeen(find("seen"), picture);
    try {
      show(sheet.empty ? [] : await reader?.read(picture));
    } catch (error) {
      say(`The model failed: ${error.message}`);
    }
  };

  const show = (probabilities) => {
    // A reading may end after the sheet was cleared.
    if (!probabilities || (probabilities.length && sheet.empty)) return;
    const best = setBars(probabilities);
    document.body.classList.toggle("idle", best < 0);
    find("digit").textContent = best < 0 ? "–" : best;
    find("verdict").textContent = best < 0 ? waiting : verdict(probabilities[best]);
    if (best >= 0) find("time").textContent = `${reader.time.toFixed(1)} ms`;
  };

  const sheet = new Sheet(find("sheet"), () => void changed());
  find("clear").addEventListener("click", () => sheet.clear());
  addEventListener("keydown", ({ key }) => key === "Escape" && sheet.clear());
  show([]);
  await showExamples(find("examples"), sheet);

  if (!navigator.gpu) {
    say(
      "This browser offers no WebGPU here, so the model cannot run. Current Chrome, Edge, Safari and Firefox have it, " +
        "on pages from https or localhost; it may need to be switched on, or a graphics driver be installed.",
    );
    return;
  }
  const { loadModel } = await import(RUNTIME);
  const model = await loadModel(PACKAGE);
  const picture = { image: { data: new Float32Array(64), shape: [1, 1, 8, 8] } };
  await model.run(picture); // compiles what is left to compile, so that the first stroke doesn't wait
  const before = model.counters.dispatches;
  await model.run(picture);

  const { files, kernels } = model.manifest;
  const runtime = performance.getEntriesByType("resource").find(({ name }) => name.endsWith("/tvm-webgpu.mjs"));
  find("kernels").textContent = kernels.length;
  find("adapter").textContent = describeAdapter(model.device.adapterInfo ?? {});
  find("launches").textContent = `${model.counters.dispatches - before} per reading`;
  find("package").textContent = kilobytes(files.reduce((sum, { role, bytes }) => sum + (role === "debug" ? 0 : bytes), 0));
  if (runtime) find("runtime").textContent = kilobytes(runtime.decodedBodySize);
  reader = new Reader(model);
  waiting = "Nothing drawn yet";
  await changed();
}

start().catch((error) => say(`The model could not be started: ${error.message}`));
