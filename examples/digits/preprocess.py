"""Turns a picture of a digit into what the model was trained on: ink of any size in, an 8x8 picture out.

The training set comes from scanned forms, treated by NIST's preprocessing: the digit was cut out, scaled to the full
height of a 32x32 bitmap, its strokes made thicker or thinner until all digits hold about the same amount of ink, and
the ink counted in 4x4 blocks (Garris et al., NISTIR 5469; the figures below are measured on the training set).
`web/preprocess.js` does the same; a test compares the two.
"""

from __future__ import annotations

import numpy as np

SIDE = 64  # of the working bitmap: twice NIST's, for smoother edges
BLOCKS = 8
WIDEST = 44  # in columns of the working bitmap, before the pen is adjusted
INK = 0.305  # share of the bitmap that is ink, the same for every digit
PAPER = 0.15  # ink fainter than this is noise


def preprocess(ink: np.ndarray) -> np.ndarray:
    """Gives `[1, 1, 8, 8]` float32 from `ink [height, width]`, 0 for paper to 1 for ink; no ink gives zeros."""
    result = np.zeros((BLOCKS, BLOCKS), "float32")
    rows, columns = np.nonzero(ink.max(1) > PAPER)[0], np.nonzero(ink.max(0) > PAPER)[0]
    if len(rows):
        digit = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        bitmap = _adjust_pen(_fit(digit) > 0.5)
        side = SIDE // BLOCKS
        counts = bitmap.reshape(BLOCKS, side, BLOCKS, side).sum((1, 3))
        result[:] = np.floor(counts * 16 / side**2 + 0.5) / 16
    return result[None, None]


def _fit(digit: np.ndarray) -> np.ndarray:
    """Scales the digit to the full height of the bitmap, narrower if it would be too wide, in the middle."""
    height, width = digit.shape
    columns = min(WIDEST, max(1.0, width * SIDE / height))
    y = (np.arange(SIDE) + 0.5) * height / SIDE - 0.5
    x = (np.arange(SIDE) + 0.5 - (SIDE - columns) / 2) * width / columns - 0.5
    return _bilinear(digit, y, x)


def _bilinear(picture: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Values at the crossings of rows `y` and columns `x`; paper outside."""
    padded = np.pad(picture, 1)

    def neighbours(at: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at = np.clip(at + 1, 0, size - 1)
        low = np.minimum(np.floor(at).astype(int), size - 2)
        return low, low + 1, at - low

    top, bottom, down = neighbours(y, padded.shape[0])
    left, right, across = neighbours(x, padded.shape[1])
    above = padded[np.ix_(top, left)] * (1 - across) + padded[np.ix_(top, right)] * across
    below = padded[np.ix_(bottom, left)] * (1 - across) + padded[np.ix_(bottom, right)] * across
    return above * (1 - down[:, None]) + below * down[:, None]


def _adjust_pen(ink: np.ndarray) -> np.ndarray:
    """Thickens or thins the strokes evenly: keeps the `INK` share of the bitmap that lies deepest inside them."""
    depth = _squared_distance(~ink) - _squared_distance(ink)
    threshold = np.sort(depth, axis=None)[-round(INK * SIDE * SIDE)]
    return depth >= threshold


def _squared_distance(mask: np.ndarray) -> np.ndarray:
    """The squared distance from each pixel to the nearest one in the mask, one axis at a time."""
    places = np.arange(SIDE)
    apart = (places[:, None] - places) ** 2
    squared = np.where(mask, 0, 2 * SIDE * SIDE)
    squared = (apart[:, :, None] + squared[None]).min(1)
    return (apart[None] + squared[:, None, :]).min(2)
