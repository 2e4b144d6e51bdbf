"""Bench cases of topic models of very many words, most of which occur in no document.

fastem is timed on the counts as they are, and on the same counts without the columns of words that
never occur: the others should cost nothing but the memory of the topics.
"""

import functools
import math
import warnings
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from _harness import OURS, Contender, milliseconds, number

ALONE = "fastem, without them"
PEERS = ("numpy", "scipy", "scikit-learn")  # whose versions the report names
MEMORY = (OURS,)
REFERENCE = ALONE
LONGER = 32

METHOD = f"""\
One iteration, wall: a fit of {LONGER} iterations less a fit of one, by {LONGER - 1}; both in turn,
rounds: {{rounds}}; ms are fastest / median. Threads: {{threads}}; float64. "Without them" are the
same counts without the words that never occur. G counts·K/s: stored counts times topics, by the
seconds of an iteration. MiB beyond the counts is the peak that a fit of two iterations adds;
× components_: by the size of that array, which is a part of it."""

NOTES = """\
Documents of 100 tokens each, words by Zipf's law, scattered over the columns; random_state=0."""


@dataclass(frozen=True)
class Case:
    """One row of the tables: documents of `n_tokens` tokens, of `n_used` of `n_words` words."""

    name: str
    model: str
    n_documents: int
    n_words: int
    n_used: int
    n_components: int
    n_tokens: int = 100

    @property
    def title(self):
        """What the tables print."""
        return (
            f"{self.model}: {self.n_documents:,} × {self.n_words:,}, {self.n_used:,} of which may "
            f"occur, K {self.n_components}"
        )

    def quick(self):
        """The same case on a tenth of the documents and words."""
        tenth = {name: getattr(self, name) // 10 for name in ("n_documents", "n_words", "n_used")}
        return replace(self, **tenth)


CASES = [
    Case("plsa-1e5", "PLSA", 2_000, 100_000, 20_000, 50),
    Case("plsa-1e6", "PLSA", 2_000, 1_000_000, 20_000, 20),
    Case("cvb0-1e5", "cvb0", 2_000, 100_000, 20_000, 50),
    Case("cvb0-1e6", "cvb0", 2_000, 1_000_000, 20_000, 20),
    Case("batch-1e5", "batch", 2_000, 100_000, 20_000, 100),
    Case("batch-all", "batch", 2_000, 100_000, 100_000, 100),
    Case("stochastic-1000", "stochastic", 1_000, 5_000, 5_000, 1_000),
]


@functools.cache
def counts(case):
    """The counts, a CSR array of float64."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, case.n_used + 1)
    size = case.n_documents * case.n_tokens
    words = rng.choice(case.n_used, size, p=share / share.sum())
    columns = np.sort(rng.choice(case.n_words, case.n_used, replace=False))[words]
    begin = np.arange(0, size + 1, case.n_tokens)
    X = sp.csr_array(
        (np.ones(size, np.float64), columns.astype(np.int32), begin.astype(np.int32)),
        shape=(case.n_documents, case.n_words),
    )
    X.sum_duplicates()
    return X


def contenders(case, options):
    """fastem on all columns, and on those of words that occur."""
    X = counts(case)
    alone = X[:, np.unique(X.indices)]
    return [
        Contender(name, "float64", options.threads, _fit(case, some, options.threads), long=LONGER,
                  tolerance=math.inf)
        for name, some in ((OURS, X), (ALONE, alone))
    ]  # fmt: skip


def _fit(case, X, n_jobs):
    """fit(n_iter), which returns the bounds."""
    from fastem import PLSA, LatentDirichletAllocation

    def fit(n_iter):
        settings = {"max_iter": n_iter, "random_state": 0, "n_jobs": n_jobs}
        if case.model == "PLSA":
            model = PLSA(case.n_components, tol=0, **settings)
        else:
            model = LatentDirichletAllocation(
                case.n_components, learning_method=case.model, **settings
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            return model.fit(X).lower_bounds_

    return fit


def summary(row):
    """One line for the progress."""
    return f"{number(_speed(row))} G counts·K/s"


def _speed(row):
    """10^9 counts times topics in a second."""
    return counts(row.case).nnz * row.case.n_components / row[OURS, "float64"].fastest / 1e9


def tables(rows, peak, options):
    """One table."""
    header = [
        "case", "model: documents × words", "ms", f"ms, {ALONE}", "G counts·K/s",
        "whole fit of one iteration, ms", "MiB beyond the counts", "× components_",
    ]  # fmt: skip
    return [(header, [_line(row) for row in rows])]


def _line(row):
    """Cells of one case."""
    ours, alone, added = row[OURS, "float64"], row[ALONE, "float64"], row.memory.get(OURS)
    own = 8 * row.case.n_components * row.case.n_words / 2**20
    return [
        row.case.name, row.case.title, milliseconds(ours), milliseconds(alone),
        number(_speed(row)), number(1e3 * min(ours.short)), number(added),
        number(None if added is None else added / own),
    ]  # fmt: skip
