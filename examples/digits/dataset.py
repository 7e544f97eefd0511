"""scikit-learn's bundled handwritten digits, split once and for all into a training set and a held-out fifth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Digits(NamedTuple):
    """Pictures `[n, 1, 8, 8]` float32, ink from 0 to 1, and their digits `[n]` int64."""

    images: np.ndarray
    labels: np.ndarray


def load() -> tuple[Digits, Digits]:
    """The training set (1,437 pictures) and the held-out set (360), every digit in the same share."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = (data.images[:, None] / 16).astype("float32")
    labels = data.target.astype("int64")
    train, held_out = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    return Digits(images[train], labels[train]), Digits(images[held_out], labels[held_out])
