/**
 * @file Turns a drawing into what the model was trained on: ink of any size in, an 8x8 picture out.
 *
 * The same steps as `../preprocess.py`, which says why; a test compares the two.
 */

const SIDE = 64;
const BLOCKS = 8;
const WIDEST = 44;
const INK = 0.305;
const PAPER = 0.15;

/**
 * @param {Float32Array} ink `height` rows of `width`, from 0 for paper to 1 for ink
 * @param {number} width
 * @param {number} height
 * @returns {Float32Array} 64 values, row by row, from 0 to 1; zeros if there is no ink
 */
export function preprocess(ink, width, height) {
  const result = new Float32Array(BLOCKS * BLOCKS);
  const box = inkedBox(ink, width, height);
  if (!box) return result;
  const bitmap = adjustPen(fit(ink, width, box));
  const side = SIDE / BLOCKS;
  bitmap.forEach((inked, i) => {
    const row = Math.floor(i / SIDE / side);
    const column = Math.floor((i % SIDE) / side);
    if (inked) result[row * BLOCKS + column] += 1;
  });
  return result.map((count) => Math.floor((count * 16) / side ** 2 + 0.5) / 16);
}

/** The smallest rectangle that holds all ink, if there is any. */
function inkedBox(ink, width, height) {
  const box = { left: width, top: height, right: -1, bottom: -1 };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (ink[y * width + x] <= PAPER) continue;
      box.left = Math.min(box.left, x);
      box.right = Math.max(box.right, x);
      box.top = Math.min(box.top, y);
      box.bottom = y;
    }
  }
  return box.bottom < 0 ? undefined : box;
}

/** Scales the digit to the full height of the bitmap, narrower if it would be too wide, in the middle. */
function fit(ink, stride, { left, top, right, bottom }) {
  const width = right - left + 1;
  const height = bottom - top + 1;
  const columns = Math.min(WIDEST, Math.max(1, (width * SIDE) / height));
  const pixel = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : ink[(top + y) * stride + left + x]);
  const bitmap = new Array(SIDE * SIDE);
  for (let row = 0; row < SIDE; row++) {
    const y = clamp(((row + 0.5) * height) / SIDE - 0.5, height);
    for (let column = 0; column < SIDE; column++) {
      const x = clamp(((column + 0.5 - (SIDE - columns) / 2) * width) / columns - 0.5, width);
      const x0 = Math.floor(x);
      const y0 = Math.floor(y);
      const across = x - x0;
      const above = pixel(x0, y0) * (1 - across) + pixel(x0 + 1, y0) * across;
      const below = pixel(x0, y0 + 1) * (1 - across) + pixel(x0 + 1, y0 + 1) * across;
      bitmap[row * SIDE + column] = above * (1 - (y - y0)) + below * (y - y0) > 0.5;
    }
  }
  return bitmap;
}

function clamp(at, size) {
  return Math.min(size, Math.max(-1, at));
}

/** Thickens or thins the strokes evenly: keeps the `INK` share of the bitmap that lies deepest inside them. */
function adjustPen(ink) {
  const inside = squaredDistance(ink, true);
  const depth = squaredDistance(ink, false).map((distance, i) => distance - inside[i]);
  const threshold = depth.slice().sort().at(-Math.round(INK * SIDE * SIDE));
  return Array.from(depth, (value) => value >= threshold);
}

/** The squared distance from each pixel to the nearest one that is ink, or is not, one axis at a time. */
function squaredDistance(bitmap, ink) {
  const values = Float64Array.from(bitmap, (inked) => (inked === ink ? 0 : 2 * SIDE * SIDE));
  nearestAlong(values, SIDE, 1);
  nearestAlong(values, 1, SIDE);
  return values;
}

function nearestAlong(values, step, next) {
  const line = new Float64Array(SIDE);
  for (let start = 0; start < SIDE * next; start += next) {
    for (let i = 0; i < SIDE; i++) line[i] = values[start + i * step];
    for (let i = 0; i < SIDE; i++) {
      let nearest = line[i];
      for (let j = 0; j < SIDE; j++) {
        const distance = line[j] + (i - j) * (i - j);
        if (distance < nearest) nearest = distance;
      }
      values[start + i * step] = nearest;
    }
  }
}
