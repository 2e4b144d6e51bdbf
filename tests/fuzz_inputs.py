"""What the fuzz feeds to estimators: matrices good and bad, parameters, weights, attributes."""

from contextlib import suppress

import numpy as np
import scipy.sparse as sp
from sklearn.utils._param_validation import Interval, StrOptions

__all__ = ["bad_value", "corrupt", "draw_data", "draw_matrix", "draw_parameters", "draw_weight"]


def chance(rng, p):
    return rng.random() < p


def pick(rng, options):
    return options[rng.integers(len(options))]


# ---- values ----------------------------------------------------------------------------------


def draw_data(rng, kind, n, d):
    """Return an ordinary (n, d) matrix for a family: "reals", "bits", "codes" or "counts"."""
    if kind == "reals":
        centers = rng.normal(size=(3, d)) * pick(rng, [0.0, 1.0, 10.0])
        return centers[rng.integers(3, size=n)] + rng.normal(size=(n, d))
    if kind == "bits":
        return (rng.random((n, d)) < 0.4).astype(float)
    if kind == "codes":
        return rng.integers(0, 4, size=(n, d)).astype(float)
    return rng.poisson(pick(rng, [0.3, 2.0]), size=(n, d)).astype(float)


def _put(value):
    def put(X, rng):
        if X.size:
            X.flat[rng.integers(X.size, size=rng.integers(1, 4))] = value
        return X

    return put


def _rows(value):
    def put(X, rng):
        X[rng.random(len(X)) < 0.3] = value
        return X

    return put


def _columns(value):
    def put(X, rng):
        X[:, rng.random(X.shape[1]) < 0.3] = value
        return X

    return put


VALUES = [
    *map(_put, [np.nan, np.inf, -np.inf, -1.0, 0.5, 1e6, 1e16, 1e20, 2.0**62, 1e38, 1e150, -1e308]),
    *map(_put, [1e-310, -0.0, 1e10, 255.0, 1e300]),
    *map(_rows, [0.0, 1.0, 1e5]),
    *map(_columns, [0.0, 1.0, 1e8]),
    *(lambda X, rng, scale=scale: X * scale for scale in (1e-300, 1e-20, 1e-8, 1e8, 1e20, 1e300)),
    lambda X, rng: X + 1e6,
    lambda X, rng: X * 0,
    lambda X, rng: np.repeat(X[:1], len(X), axis=0),
    lambda X, rng: X[:1],
    lambda X, rng: X[:0],
    lambda X, rng: X[:, :0],
    lambda X, rng: X[:, :1],
    lambda X, rng: X[:, 0],
    lambda X, rng: X[None],
    lambda X, rng: np.full((), 1.0),
]
TYPES = [
    *(lambda X, t=t: X.astype(t) for t in ("f4", "f2", "i8", "i4", "u1", "i1", "?", "O", "c16")),
    lambda X: X.astype("f4"),
    lambda X: X.astype("f4"),
    lambda X: X.astype(str),
    lambda X: np.asarray(X.astype(object) + 1j, dtype=object),
    lambda X: np.where(X > 0, X.astype(object), "word"),
    lambda X: X.astype("M8[s]"),
]


def _strided(X):
    if X.ndim == 0:
        return X
    wide = np.full(tuple(2 * n + 1 for n in X.shape), X.flat[0] if X.size else 0, X.dtype)
    view = wide[tuple(slice(1, None, 2) for _ in X.shape)]
    view[...] = X
    return view


def _misaligned(X):
    if X.dtype.hasobject:
        return X
    out = np.zeros(X.nbytes + 1, np.uint8)[1:].view(X.dtype).reshape(X.shape)
    out[...] = X
    return out


def _read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


class Mine(np.ndarray):
    """A subclass, as libraries of units have."""


LAYOUTS = [
    np.asfortranarray,
    _strided,
    _misaligned,
    _misaligned,
    _read_only,
    lambda X: X[::-1] if X.ndim else X,
    lambda X: X.astype(X.dtype.newbyteorder()),
    lambda X: X.tolist(),
    lambda X: np.ma.masked_array(X),
    lambda X: X.view(Mine),
    lambda X: _data_frame(X),
]


def _data_frame(X):
    pandas = __import__("pandas")
    return pandas.DataFrame(X) if X.ndim == 2 else pandas.Series(X.ravel())


# ---- sparse matrices ---------------------------------------------------------------------------


def _change(rng, array):
    """Return indices with one of them, or their number or type, wrong."""
    array = array.copy()
    what = rng.integers(6)
    if what == 0 and len(array):
        array[rng.integers(len(array))] = pick(rng, [10**6, -1, -(10**6), 2**31 - 1, len(array)])
    elif what == 1 and len(array):
        array = array[:-1]
    elif what == 2:
        array = np.append(array, array[-1:])
    elif what == 3:
        array = array[::-1].copy()
    elif what == 4:
        array = array.astype(pick(rng, [np.int64, np.int32, np.float64, np.uint8, np.int16]))
    else:
        rng.shuffle(array)
    return array


def corrupt(rng, X):
    """Change one of the arrays that a sparse matrix is made of, in place."""
    names = {
        "csr": ("indices", "indptr", "data"),
        "csc": ("indices", "indptr", "data"),
        "bsr": ("indices", "indptr"),
        "coo": ("row", "col", "data"),
        "dia": ("offsets",),
    }.get(X.format)
    if names is None:
        return X
    name = pick(rng, names)
    with suppress(AttributeError, ValueError):  # some SciPy does not let be set
        if name == "data":
            X.data = pick(rng, [X.data[:-1], np.append(X.data, 1.0), _strided(X.data)])
        else:
            setattr(X, name, _change(rng, getattr(X, name)))
    return X


def _sparse(rng, X):
    """Return X in some sparse format, perhaps with stored zeros, repeated entries, or damage."""
    kind = pick(rng, ["csr", "csc", "coo", "bsr", "dia", "lil", "dok", "csr", "csr"])
    if X.shape[0] > 100 and kind in ("dia", "lil", "dok"):
        kind = "csc"  # those take long to make and to copy
    X = sp.coo_array(X)
    if chance(rng, 0.3) and X.nnz:
        zero = np.zeros(3, X.dtype)
        at = rng.integers(X.shape[0], size=3), rng.integers(X.shape[1], size=3)
        places = tuple(np.append(a, b) for a, b in zip(X.coords, at, strict=True))
        X = sp.coo_array((np.append(X.data, zero), places), shape=X.shape)
    X = X.asformat(kind)
    if chance(rng, 0.5):
        X = getattr(sp, f"{kind}_matrix")(X)
    return corrupt(rng, X) if chance(rng, 0.4) else X


def draw_matrix(rng, kind, n, d, odd):
    """Return a matrix for a family; `odd` is how probably each of its sides is out of the way."""
    X = draw_data(rng, kind, n, d)
    with np.errstate(all="ignore"):
        if chance(rng, odd):
            X = np.asarray(pick(rng, VALUES)(X, rng))
        if chance(rng, odd):
            with suppress(ValueError, TypeError, OverflowError):
                X = pick(rng, TYPES)(X)
    if (
        chance(rng, 0.3 if kind == "reals" else 0.5)
        and X.ndim == 2
        and X.dtype.kind in "fiub"
        and X.dtype != "f2"
    ):
        return _sparse(rng, X)
    return pick(rng, LAYOUTS)(X) if chance(rng, odd) else X


def draw_weight(rng, n):
    """Return a sample_weight: usually none, or a good one."""
    if chance(rng, 0.7):
        return None
    weight = rng.random(n) * 3
    if chance(rng, 0.6):
        return weight
    what = rng.integers(9)
    if what < 3:
        weight[rng.random(n) < 0.5] = [0.0, -1.0, np.nan][what]
        return weight
    others = [weight[:-1], weight * 1e299, weight * 1e-300, weight[:, None], _misaligned(weight)]
    return pick(rng, [*others, weight.astype("f4"), "a", weight.astype(object), 2.0, weight * 0])


# ---- parameters --------------------------------------------------------------------------------

BAD = [None, "a", -1, 0, 2.5, np.nan, np.inf, -np.inf, [], [[]], [1.0, -1.0], {}, 10**12, "auto"]
#: Never drawn: they would only take time, print, or need more than this process.
LEFT_OUT = ("verbose", "n_jobs", "random_state", "copy_x")
SMALL = {
    "max_iter": [1, 2, 5, 20],
    "n_iter": [1, 2, 5, 20],
    "n_mix": [1, 2, 3],
    "n_components": [1, 2, 3, 5],
    "n_clusters": [1, 2, 3, 5],
    "n_init": [1, 2],
    "batch_size": [1, 7, 100],
    "n_trials": [1, 3, 100, 2**31, 2**62],
    "n_categories": [4, 5, 300],
    "max_doc_update_iter": [1, 20],
}


def _allowed(rng, name, constraint, X):
    """Return a value that a constraint of scikit-learn's allows, or bad ones of the right kind."""
    if name in SMALL:
        return pick(rng, SMALL[name])
    if isinstance(constraint, StrOptions):
        return pick(rng, sorted(constraint.options))
    if isinstance(constraint, Interval):
        low = 0.0 if constraint.left is None else float(constraint.left)
        high = low + 10 if constraint.right is None else float(constraint.right)
        value = pick(rng, [low, high, low + 1e-9, low + 1e-3, low + 0.5 * (high - low), 1e-300])
        return int(value) if constraint.type.__name__ == "Integral" else value
    if constraint == "boolean":
        return chance(rng, 0.5)
    if constraint == "array-like":
        shape = pick(rng, [(3,), (2,), (3, X[1]), (2, X[1]), (X[1],), (2, X[1], X[1]), (0, X[1])])
        values = pick(rng, [np.ones, lambda s: np.full(s, 1 / 3), rng.random, np.zeros])(shape)
        return pick(rng, VALUES[:6])(np.array(values), rng) if chance(rng, 0.2) else values
    return constraint if constraint is None else pick(rng, BAD)


def draw_parameters(rng, cls, shape):
    """Return parameters of an estimator, most of them good."""
    names = cls._get_param_names()
    constraints = {n: c for n, c in cls._parameter_constraints.items() if n in names}
    parameters = {"random_state": int(rng.integers(1000))} if "random_state" in constraints else {}
    for name in ("n_components", "n_clusters", "max_iter", "n_iter"):
        if name in constraints:
            parameters[name] = pick(rng, SMALL[name])
    for name, options in constraints.items():
        if name not in LEFT_OUT and isinstance(options, list) and chance(rng, 0.2):
            parameters[name] = _allowed(rng, name, pick(rng, options), shape)
    if chance(rng, 0.1):
        parameters[pick(rng, [n for n in constraints if n not in LEFT_OUT])] = pick(rng, BAD)
    for name in ("max_iter", "n_iter", "n_init", "n_mix", "max_doc_update_iter"):
        if parameters.get(name) == 10**12:
            parameters[name] = 5
    return parameters


def bad_value(rng, value):
    """Return what might stand in a fitted attribute by mistake."""
    array = np.array(value, dtype=float, copy=True)
    if chance(rng, 0.5) and array.ndim:
        shape = array.shape
        cut = array[: rng.integers(shape[0])] if shape[0] else array
        return pick(rng, [cut, array[..., :-1], array.T, array[None], array.ravel(), array[:0]])
    if chance(rng, 0.2):
        return pick(rng, [None, "a", [], {}, object(), 1.0])
    for _ in range(rng.integers(1, 3)):
        array = pick(rng, list(map(_put, [np.nan, np.inf, -1.0, 0.0, 1e300, -np.inf])))(array, rng)
    return array
