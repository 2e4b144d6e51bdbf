"""Spark beside fastem: `python bench/blocks.py spark`, on one machine, `local[2]`.

Spark is for many machines; the figure says how many it needs to be as fast as one is with fastem.
"""

import time
import warnings

import numpy as np
from _harness import optional

ROWS, FEATURES, CLUSTERS = 200_000, 8, 8
LONG, SHORT = 12, 2  # iterations


def contenders(X, threads):
    """Return, by name, functions of a number of iterations: Spark's fit and fastem's."""
    from fastem import GaussianMixture, KMeans

    session_of = optional("pyspark.sql", "SparkSession")
    if session_of is None:
        return None
    from pyspark.ml import clustering
    from pyspark.ml.linalg import Vectors

    session = session_of.builder.master(f"local[{threads}]").config("spark.ui.enabled", "false")
    session = session.config("spark.driver.memory", "4g").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")

    rows = [(Vectors.dense(row),) for row in X]
    frame = session.createDataFrame(rows, ["features"]).repartition(threads).cache()
    frame.count()  # so that it lies in memory
    own = {"random_state": 0, "n_jobs": threads, "tol": 0}

    def of(spark, fastem):
        return (
            lambda n: spark(k=CLUSTERS, maxIter=n, tol=0.0, seed=0).fit(frame),
            lambda n: fastem(CLUSTERS, max_iter=n, **own).fit(X),
        )

    return session, {
        "GaussianMixture": of(
            clustering.GaussianMixture,
            lambda k, **settings: GaussianMixture(k, init_params="random_from_data", **settings),
        ),
        "KMeans": of(
            lambda **settings: clustering.KMeans(initMode="random", **settings),
            lambda k, **settings: KMeans(k, init="random", n_init=1, **settings),
        ),
    }


def iteration(fit):
    """Return the seconds of an iteration: a long fit less a short one."""
    taken = []
    for n in (SHORT, LONG):
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit(n)
        taken.append(time.perf_counter() - begin)
    return (taken[1] - taken[0]) / (LONG - SHORT)


def spark(options):
    """Report Spark's seconds of an iteration beside fastem's; return True."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(CLUSTERS, FEATURES))  # overlapping: no fit converges early
    X = rng.normal(size=(ROWS, FEATURES)) + centers[rng.integers(0, CLUSTERS, ROWS)]
    found = contenders(X, options.workers)
    if found is None:
        return True
    session, pairs = found
    for name, (theirs, ours) in pairs.items():
        iteration(theirs), iteration(ours)  # warm: the JVM compiles as it goes
        rounds = [(iteration(theirs), iteration(ours)) for _ in range(options.rounds)]
        ratio = np.median([a / b for a, b in rounds])
        slow, fast = (1e3 * min(one) for one in zip(*rounds, strict=True))
        print(
            f"{name}, {ROWS:,} × {FEATURES}, K {CLUSTERS}, ms an iteration, fastest of "
            f"{options.rounds}: Spark local[{options.workers}] {slow:.0f}, fastem {fast:.2f} "
            f"({slow / fast:.0f} ×, by medians {ratio:.0f} ×)"
        )
    session.stop()
    return True
