"""Rounding a weight matrix with a view to what it is multiplied with.

What the rounding of one column does to the products, the columns that are rounded after it make
good as far as their inputs go along with its own (GPTQ, "optimal brain" rounding).
"""

import numpy as np

from int8.qtensor import LARGEST, QTensor, packed, quantize

DAMPING = 0.01  # of the mean square of the inputs, added to each: few inputs were seen
BLOCK = 64  # columns whose errors are passed on to the rest together


def quantize_for(w: np.ndarray, gram: np.ndarray, bits: int, group_size: int | None) -> QTensor:
    """Quantises w [out, in] for inputs x whose sum of x.T @ x is `gram` [in, in].

    The scales are those of `quantize`; the integers differ.
    """
    w = np.asarray(w, np.float64)
    columns, largest = w.shape[1], LARGEST[bits]
    scale = quantize(w.astype(np.float32), bits, group_size).scale  # [out] or [out, groups]
    step = np.repeat(scale.reshape(len(w), -1), group_size or columns, axis=1)  # [out, in]
    power = np.diag(gram)
    order = np.argsort(-power, kind="stable")  # what matters most first: the rest makes it good
    back = _passing_on(gram[np.ix_(order, order)] + np.eye(columns) * _damping(power))
    left, step, q = w[:, order], step[:, order], np.empty(w.shape)
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        errors = np.empty((len(w), end - start))
        for j in range(start, end):
            q[:, j] = np.clip(np.rint(left[:, j] / step[:, j]), -largest, largest)
            error = errors[:, j - start] = (left[:, j] - q[:, j] * step[:, j]) / back[j, j]
            left[:, j + 1 : end] -= np.outer(error, back[j, j + 1 : end])
        left[:, end:] -= errors @ back[start:end, end:]
    return QTensor(packed(q[:, np.argsort(order)], bits), scale, bits, group_size)


def _damping(power: np.ndarray) -> float:
    return float(DAMPING * power.mean()) or 1.0


def _passing_on(gram: np.ndarray) -> np.ndarray:
    """Upper triangular [in, in]: a column's error over its diagonal, times its row, is what the
    columns behind it take over."""
    inverse = np.linalg.inv(gram)
    return np.linalg.cholesky((inverse + inverse.T) / 2).T
