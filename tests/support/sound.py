"""Comparing what was spoken."""

import numpy as np


def same(a: np.ndarray, b: np.ndarray) -> None:
    """The same audio: to the last bit, or, where XLA rounds by the shape, to 100 dB."""
    assert a.shape == b.shape and a.std() > 0.01
    error = np.square(a - b).sum()
    assert error == 0 or 10 * np.log10(np.square(b).sum() / error) >= 100
