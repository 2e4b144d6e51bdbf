"""k-means++ (Arthur & Vassilvitskii 2007), with scikit-learn's random numbers and its picks.

scikit-learn draws a few samples a step, each with a chance in proportion to its weighted squared
distance to the centers so far, and keeps the one that leaves the smallest sum. Both the draw and
the choice compare sums of floating-point numbers, which round in another way here. Each comparison
therefore tells whether rounding could have decided it: then scikit-learn's own function picks, with
the same random numbers.
"""

from __future__ import annotations

import math

import numpy as np
from sklearn.utils.extmath import row_norms

from fastem._base import squarable
from fastem._compat import pick_by_kmeans_plusplus
from fastem._engine.threads import useful_n_jobs
from fastem._kernels import seeding as kernel

__all__ = ["Rows", "draw_rows", "scikit_learn_s_rows"]

_EPS = np.finfo(np.float64).eps
_HALF_UNIT = 2.0**-24  # of float32: the largest relative error of rounding
_DEVIATIONS = 32  # standard deviations of a sum's error, or so, that count as possible


class Rows:
    """Samples that centers are drawn from.

    Parameters
    ----------
    X : C-contiguous ndarray of shape (n, D), float32 or float64
    sample_weight : ndarray of shape (n,), float64, or None
    length : float
        The largest length of a row.
    n_jobs : int or None
    shift : ndarray of shape (D,) of the data's dtype, default=None
        The mean of the samples, unless they are centered.
    keep : bool, default=False
        Whether to work on a float32 copy of the samples, which pays where centers are many.
    origin : ndarray of shape (D,) of the data's dtype, default=None
        The samples are X - origin, to the bits of such a copy.
    """

    def __init__(self, X, sample_weight, length, n_jobs, *, shift=None, keep=False, origin=None):
        self.X, self.sample_weight, self.shift, self.origin = X, sample_weight, shift, origin
        ones = np.ones(X.shape[0], X.dtype)
        self.weight = ones if sample_weight is None else sample_weight.astype(X.dtype)
        self.scale = 2.0 ** -math.frexp(length)[1] if 0 < length < math.inf else 1.0
        self.square = (self.scale * length) ** 2
        self.n_jobs, self.keep, self._seeding = n_jobs, keep, None
        n, d = X.shape
        # Of a sum of n rounded numbers, by so many units of one: a random walk, if it is long.
        self.steps = min(n, _DEVIATIONS * math.sqrt(n))
        heaviest = 1.0 if sample_weight is None else float(sample_weight.max(initial=0.0))
        # By |x|^2 - 2 x.c + |c|^2, as scikit-learn has it, a distance is off by less than this.
        self.off = 4 * (d + 8) * _EPS * self.square * heaviest

    def about(self, rows):
        """Return some rows of X as samples."""
        return rows if self.origin is None else rows - self.origin

    def equal(self, one, other):
        """Return whether two samples are the same."""
        return one == other or np.array_equal(*self.about(self.X[[one, other]]))

    def release(self):
        """Give back the memory of draws so far; the next ones take as much again."""
        self._seeding = None

    def seeding(self, n_trials):
        """Return the kernel's state for so many trials a step, the same each time."""
        if self._seeding is None or self._seeding.width < n_trials:
            n, d = self.X.shape
            margin = (d + 8) * _HALF_UNIT * self.square
            self._seeding = kernel.Seeding(
                self.X, np.zeros(d) if self.shift is None else self.shift, self.scale,
                self.sample_weight, n_trials, margin,
                useful_n_jobs(self.n_jobs, n * d), self.keep, self.origin,
            )  # fmt: skip
        return self._seeding


def draw_rows(rows, n_clusters, random_state):
    """Return which rows k-means++ picks, (K,) int.

    Parameters
    ----------
    rows : Rows
    n_clusters : int
    random_state : RandomState
        Used as scikit-learn uses it.
    """
    chance = rows.weight / rows.weight.sum()
    first = random_state.choice(len(chance), p=chance)
    if n_clusters == 1:
        return np.array([first])
    n_trials = 2 + int(math.log(n_clusters))
    uniform = random_state.uniform(size=(n_clusters - 1, n_trials))
    picked = _picks(rows, first, uniform)
    if picked is not None:
        return picked
    about = rows.shift if rows.origin is None else rows.origin
    X = rows.X if about is None else rows.X - about
    return scikit_learn_s_rows(X, rows.weight, n_clusters, _Recorded(first, uniform))


def _picks(rows, first, uniform):
    """Return the picks, or None where rounding decides."""
    if not 2.0**-400 < rows.scale < 2.0**400:
        return None
    steps = (_Singles if rows.X.dtype == np.float32 else _Doubles)(rows, uniform.shape[1])
    picked = [first]
    steps.begin(first)
    for numbers in uniform:
        row = steps.next(numbers)
        if row is None:
            return None
        picked.append(row)
    return np.array(picked)


class _Doubles:
    """The steps on float64 samples."""

    def __init__(self, rows, n_trials):
        self.rows, self.seeding = rows, rows.seeding(n_trials)

    def begin(self, first):
        self.left = self.seeding.begin(first)

    def next(self, uniform):
        """Return the next pick, or None."""
        tolerance = self.rows.steps * (_EPS * self.left + self.rows.off)
        trials = self.seeding.draw((uniform * self.left).tolist(), tolerance)
        if trials is None:
            return None
        left = self.seeding.measure(trials)
        best = left.index(min(left))
        for trial, sum_left in zip(trials, left, strict=True):
            if sum_left - left[best] < tolerance and not self.rows.equal(trial, trials[best]):
                return None
        self.left = self.seeding.take(best)
        return trials[best]


class _Singles:
    """The steps on float32 samples: scikit-learn rounds each distance to float32, and each sum.

    Its sums are off by much more than what one sample adds. But a cumulative sum of the same
    rounded distances is the same, and NumPy makes the sum of all of them here, too.
    """

    def __init__(self, rows, n_trials):
        self.rows, self.seeding = rows, rows.seeding(n_trials)
        self.previews = np.zeros((n_trials, len(rows.weight)), np.float32)
        n = len(rows.weight)
        # How far apart, in proportion, two of its sums may be whose order is another one.
        self.apart = 4 * _HALF_UNIT * min(n, 16 + 4 * math.sqrt(n))
        # Below this the rounding of doubles, which differs, is seen in float32, too.
        self.least = rows.off * 2.0**24 * n

    def begin(self, first):
        self.seeding.begin(first)
        self.left = self.seeding.closest[np.newaxis] @ self.rows.weight

    def next(self, uniform):
        """Return the next pick, or None."""
        if not self.left[0] > self.least:
            return None
        trials = self.seeding.draw_single(uniform * self.left)
        left = self.seeding.measure(trials)
        near = [i for i, sum_left in enumerate(left) if sum_left <= min(left) * (1 + self.apart)]
        for i in near:
            self.seeding.preview(i, self.previews[i])
        sums = self.previews @ self.rows.weight[:, np.newaxis]
        best = near[int(sums[near].argmin())]
        self.left = sums[best]
        self.seeding.take(best)
        return trials[best]


class _Recorded:
    """Random numbers that were drawn before, for a function that draws the same."""

    def __init__(self, first, uniform):
        self.first, self.rest = first, iter(uniform)

    def choice(self, *_, **__):
        """Return the first pick."""
        return self.first

    def uniform(self, *_, **__):
        """Return the numbers of the next step."""
        return next(self.rest)

    random_sample = uniform


def scikit_learn_s_rows(X, weight, n_clusters, random_state):
    """Return the picks of scikit-learn's own function, without its checks, which take longer."""
    within = squarable(X)
    norms = row_norms(within, squared=True)
    return pick_by_kmeans_plusplus(within, n_clusters, norms, weight, random_state)[1]
