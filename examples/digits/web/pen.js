/**
 * @file Strokes on a canvas: pointer events in, smooth lines on screen and the ink as numbers out.
 *
 * A stroke is an array of points [x, y] in parts of the canvas's side, so that it can be drawn at any size.
 */

const WIDTH = 0.052;
const INK_SIDE = 160;

/** Draws strokes with a round pen, as curves through the middles between points: no corners, no lag. */
export function drawStrokes(context, strokes, side, width = WIDTH) {
  context.lineCap = context.lineJoin = "round";
  context.lineWidth = width * side;
  for (const stroke of strokes) {
    const points = stroke.map(([x, y]) => [x * side, y * side]);
    context.beginPath();
    context.moveTo(...points[0]);
    for (let i = 1; i < points.length - 1; i++) {
      const [x, y] = points[i];
      const [nextX, nextY] = points[i + 1];
      context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    }
    context.lineTo(...points.at(-1));
    context.stroke();
  }
}

/** The same curve through few points, as many: what a hand would have given. */
export function refine(stroke, steps = 8) {
  const at = (i) => stroke[Math.min(stroke.length - 1, Math.max(0, i))];
  const points = stroke.slice(0, -1).flatMap((_, i) =>
    Array.from({ length: steps }, (_, step) => {
      const t = step / steps;
      const [a, b, c, d] = [at(i - 1), at(i), at(i + 1), at(i + 2)];
      return [0, 1].map(
        (k) =>
          b[k] +
          (t / 2) * (c[k] - a[k] + t * (2 * a[k] - 5 * b[k] + 4 * c[k] - d[k] + t * (3 * (b[k] - c[k]) + d[k] - a[k]))),
      );
    }),
  );
  return [...points, stroke.at(-1)];
}

export class Sheet {
  #canvas;
  #changed;
  #strokes = [];
  #pointer;
  #ink = Object.assign(document.createElement("canvas"), { width: INK_SIDE, height: INK_SIDE });
  #animation = 0;

  /**
   * @param {HTMLCanvasElement} canvas a square one
   * @param {() => void} changed called after every change
   */
  constructor(canvas, changed) {
    this.#canvas = canvas;
    this.#changed = changed;
    canvas.addEventListener("pointerdown", (event) => this.#start(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => {
        if (event.pointerId === this.#pointer) this.#pointer = undefined;
      });
    }
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  get empty() {
    return this.#strokes.length === 0;
  }

  clear() {
    this.#animation++;
    this.#strokes = [];
    this.#update();
  }

  /** Draws the strokes as a hand would, one after the other. */
  async play(strokes, duration = 650) {
    this.clear();
    const animation = this.#animation;
    const fine = strokes.map((stroke) => refine(stroke));
    const total = fine.reduce((sum, { length }) => sum + length, 0);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const start = performance.now();
    for (let drawn = 0; drawn < total; ) {
      const now = still ? Infinity : await new Promise(requestAnimationFrame);
      if (animation !== this.#animation) return;
      drawn = Math.min(total, Math.ceil((total * (now - start)) / duration));
      let left = drawn;
      this.#strokes = fine.flatMap((stroke) => {
        const part = stroke.slice(0, Math.max(0, left));
        left -= stroke.length;
        return part.length > 1 ? [part] : [];
      });
      this.#update();
    }
  }

  /** The ink: `side` rows of `side` values, from 0 for paper to 1. */
  ink() {
    const context = this.#ink.getContext("2d", { willReadFrequently: true });
    context.clearRect(0, 0, INK_SIDE, INK_SIDE);
    drawStrokes(context, this.#strokes, INK_SIDE);
    const { data } = context.getImageData(0, 0, INK_SIDE, INK_SIDE);
    return { side: INK_SIDE, values: Float32Array.from({ length: INK_SIDE ** 2 }, (_, i) => data[4 * i + 3] / 255) };
  }

  #start(event) {
    if (event.button !== 0 || this.#pointer !== undefined) return;
    this.#animation++;
    this.#pointer = event.pointerId;
    this.#canvas.setPointerCapture(event.pointerId);
    const point = this.#point(event);
    this.#strokes.push([point, [point[0] + 1e-3, point[1]]]); // a line without length would leave no dot
    this.#update();
  }

  #move(event) {
    if (event.pointerId !== this.#pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    const stroke = this.#strokes.at(-1);
    for (const each of events.length ? events : [event]) {
      const point = this.#point(each);
      const last = stroke.at(-1);
      // Points closer than this only carry the hand's tremor.
      if (Math.hypot(point[0] - last[0], point[1] - last[1]) > 0.006) stroke.push(point);
    }
    this.#update();
  }

  #point(event) {
    const box = this.#canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  #update() {
    this.#draw();
    this.#changed();
  }

  #draw() {
    const side = Math.round(this.#canvas.clientWidth * devicePixelRatio);
    if (this.#canvas.width !== side) this.#canvas.width = this.#canvas.height = side;
    const context = this.#canvas.getContext("2d");
    context.clearRect(0, 0, side, side);
    context.strokeStyle = getComputedStyle(this.#canvas).color;
    drawStrokes(context, this.#strokes, side);
  }
}
