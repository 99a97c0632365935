"""A linear map in closed form: what a few hundred pictures suffice for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fpray.errors import UserError

PENALTIES = 10.0 ** np.arange(-4, 7)  # ridges to choose among, in units of the mean squared singular value
BLOCK = 256  # columns of the target that are in memory as float64 at a time: whole pictures of thousands would not fit


@dataclass(frozen=True)
class LinearMap:
    """A linear map from vectors to something else of the same pictures: another network's vectors, or their pixels."""

    weights: np.ndarray
    """(length of the source, length of the target) float64."""
    bias: np.ndarray
    """(length of the target,) float64."""
    penalty: float
    """The ridge that was chosen, on standardised values."""

    @classmethod
    def fit(cls, source: np.ndarray, target: np.ndarray) -> LinearMap:
        """Ridge regression on standardised values; of PENALTIES the one with the least leave-one-out error.

        Args:
            source: (n, a) vectors.
            target: (n, b) what belongs to each of them.

        Raises:
            UserError: fewer than 3 pictures, not as many vectors on both sides, vectors that are not finite.
        """
        x, y = np.asarray(source, dtype=np.float64), np.asarray(target)
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < 3:
            raise UserError(f'a linear map from vectors {x.shape} to {y.shape}', 'give both of 3 pictures or more')
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise UserError('vectors hold values that are not finite', 'leave them out')
        centre, scale, middle = x.mean(axis=0), x.std(axis=0), y.mean(axis=0, dtype=np.float64)
        scale = np.where(scale > 0, scale, 1.0)
        u, s, vt = np.linalg.svd((x - centre) / scale, full_matrices=False)
        penalties = PENALTIES * max(float(np.square(s).mean()), 1e-12)  # vectors that never vary: the mean is all there is
        turned, errors = np.empty((len(s), y.shape[1])), np.zeros(len(penalties))
        for first in range(0, y.shape[1], BLOCK):
            some = slice(first, first + BLOCK)
            part = y[:, some] - middle[some]
            turned[:, some] = u.T @ part
            errors += [_left_out(u, s, turned[:, some], part, penalty) for penalty in penalties]
        best = float(penalties[int(np.argmin(errors))])
        weights = (vt.T * (s / (s**2 + best))) @ turned / scale[:, None]
        return cls(weights, middle - centre @ weights, best)

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """(n, length of the source) to (n, length of the target) float32."""
        return (np.asarray(vectors, dtype=np.float64) @ self.weights + self.bias).astype(np.float32)


def _left_out(u: np.ndarray, s: np.ndarray, turned: np.ndarray, y: np.ndarray, penalty: float) -> float:
    """Sum of squared errors of each row by a fit without it; 1 / n of the hat matrix is the mean's."""
    shrunk = s**2 / (s**2 + penalty)
    fitted = (u * shrunk) @ turned
    leverage = np.square(u) @ shrunk + 1 / len(y)
    return float(np.square((y - fitted) / np.maximum(1 - leverage, 1e-12)[:, None]).sum())
