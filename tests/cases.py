"""One table of cases, over which every test of test_contract.py runs.

A new family adds a subclass of `Case` and a line in `CASES`; its oracle is a file in
bench/reference. Data are tiny unless a test asks for many rows.
"""

import numpy as np
from case_base import Case
from case_mixtures import (
    BAYESIAN_SIZES,
    DISCRETE_SIZES,
    KINDS,
    BayesianCase,
    DiscreteCase,
    GaussianCase,
    KMeansCase,
    TruncatedCase,
)
from case_robust import NoiseCase, StudentCase
from case_sequences import ChainCase
from case_topics import GaussianLDACase, LDACase, PLSACase

__all__ = [
    "CASES",
    "LARGE",
    "BayesianCase",
    "Case",
    "ChainCase",
    "DiscreteCase",
    "GaussianCase",
    "GaussianLDACase",
    "KMeansCase",
    "LDACase",
    "NoiseCase",
    "PLSACase",
    "StudentCase",
    "TruncatedCase",
]

#: D, K, n, spread. Full covariances have a kernel of their own up to D = 10 or 12; above that they
#: pad D to a multiple of 4 and prune: nearly everything at the largest spread, nothing at spread 0.
GAUSSIAN_SIZES = [
    (1, 1, 37, 1.0),
    (2, 3, 1001, 2.0),
    (8, 4, 530, 1.0),
    (13, 2, 777, 0.0),
    (11, 7, 1301, 1.0),
    (20, 5, 2100, 4.0),
]
#: Sums so large that threads take turns in adding to them; more chunks than may be under way.
LARGE = [
    GaussianCase(dtype, "full", 72, 64, 9500, 0.7)  # D, K, n, spread
    for dtype in (np.float64, np.float32)
]
LARGE += [case(np.float64, "full", 72, 64, 9500, 0.7) for case in (NoiseCase, StudentCase)]

CASES: list[Case] = [
    *(
        GaussianCase(dtype, kind, *size)
        for size in GAUSSIAN_SIZES
        for kind in KINDS
        for dtype in (np.float64, np.float32)
    ),
    *(
        NoiseCase(dtype, kind, *size)
        for size in [(2, 3, 1001, 2.0), (13, 4, 777, 1.0)]
        for kind in KINDS
        for dtype in (np.float64, np.float32)
    ),
    *(
        StudentCase(dtype, kind, *size, df)
        for *size, df in [(2, 3, 1001, 2.0, "each"), (13, 4, 777, 1.0, "shared")]
        for kind in KINDS
        for dtype in (np.float64, np.float32)
    ),
    *(
        BayesianCase(dtype, kind, *size)
        for size in BAYESIAN_SIZES
        for kind in KINDS
        for dtype in (np.float64, np.float32)
    ),
    *(
        DiscreteCase(dtype, family, *size)
        for family, sizes in DISCRETE_SIZES.items()
        for size in sizes
        for dtype in (np.float64, np.float32)
    ),
    *(
        ChainCase(np.float64, *size)
        for size in [
            ("full", 2, 3, 203),
            ("full", 9, 2, 150),
            ("tied", 3, 5, 150),
            ("diag", 4, 8, 203),
            ("spherical", 1, 17, 150),
            ("categorical", 1, 5, 203),
            ("poisson", 3, 4, 150),
        ]
    ),
    *(
        TruncatedCase(dtype, kind, *size)
        for kind in ("diag", "spherical")
        for size in [(1, 2, 37, 2.0), (3, 6, 301, 1.0), (17, 5, 450, 1.0)]
        for dtype in (np.float64, np.float32)
    ),
    *(
        KMeansCase(dtype, *size, bounded)
        for size in [
            (1, 3, 37),
            (2, 8, 1001),
            (2, 20, 555),
            (3, 5, 700),
            (7, 9, 530),
            (17, 33, 1301),
            (130, 18, 601),
        ]
        for bounded in (False, True)
        for dtype in (np.float64, np.float32)
    ),
    *(
        PLSACase(dtype, *size)
        for size in [(7, 2, 40), (60, 20, 301), (40, 33, 200), (200, 150, 90)]
        for dtype in (np.float64, np.float32)
    ),
    *(
        LDACase(dtype, *size)
        for size in [(7, 2, 40), (60, 20, 101), (40, 33, 60)]
        for dtype in (np.float64, np.float32)
    ),
    *(
        LDACase(dtype, 60, 20, 101, kind)
        for kind in ("auto", "guided", "point")
        for dtype in (np.float64, np.float32)
    ),
    *(
        GaussianLDACase(dtype, *size)
        for size in [
            (20, 2, 40, 1),
            (150, 20, 101, 2),
            (150, 13, 60, 2, True),
            (60, 7, 101, 5, False, True),
            (60, 7, 101, 5, True, True),
        ]
        for dtype in (np.float64, np.float32)
    ),
]
