"""K-means in plain NumPy: Lloyd's algorithm (Bishop 2006, equations 9.2-9.4)."""

import numpy as np


def squared_distances(X, centers):
    """|x - c|^2 of every sample and center, (n, K)."""
    distances = np.empty((len(X), len(centers)))
    for k, center in enumerate(centers):
        distances[:, k] = ((X - center) ** 2).sum(axis=1)
    return distances


def e_step(X, centers, sample_weight=None):
    """Labels (n,), the first of equally near centers, and the sums of each cluster's samples."""
    weight = np.ones(len(X)) if sample_weight is None else sample_weight
    distances = squared_distances(X, centers)
    labels = distances.argmin(axis=1)
    member = labels[:, None] == np.arange(len(centers))  # (n, K)
    return {
        "bound": -float(weight @ distances.min(axis=1)),  # minus the inertia
        "weight": float(weight.sum()),
        "rows": (member * weight[:, None]).T @ X,
        "weights": weight @ member,
        "labels": labels,
    }


def m_step(rows, weights):
    """The means of the clusters, none of which may be empty."""
    return rows / weights[:, None]


def fit(X, centers, n_iter):
    """n_iter iterations; returns the centers and the mean bound before each M-step."""
    bounds = []
    for _ in range(n_iter):
        sums = e_step(X, centers)
        bounds.append(sums["bound"] / sums["weight"])
        centers = m_step(sums["rows"], sums["weights"])
    return centers, bounds
