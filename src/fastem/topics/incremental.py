"""The incremental method of latent Dirichlet allocation: the model that the driver fits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastem._engine import arrays
from fastem._engine.kept import Room
from fastem._engine.statistics import Statistics
from fastem._kernels import topics as kernel
from fastem.topics.documents import Documents, Topics, TopicSums
from fastem.topics.variational import VariationalLDA, set_columns, topic_scale

__all__ = ["DocumentGammas", "IncrementalLDAEM"]

# A document's gamma starts again at its first visits, or it would stay in the optimum of topics
# that were hardly any; then it goes on from its last, and a few updates are enough. More at first
# fit long documents to such topics too closely; with fewer, short ones end lower.
_COLD_VISITS, _COLD_SWEEPS, _WARM_SWEEPS = 4, 14, 5


class DocumentGammas(NamedTuple):
    """What is kept of a block's documents from one visit to the next."""

    gamma: np.ndarray  # (D, width)
    n_visits: int


class IncrementalLDAEM(VariationalLDA):
    """LDA whose documents come back again and again, with few updates at a time.

    Their gammas begin at 1, and after some visits go on from the last ones. Parameters are those
    of :class:`VariationalLDA`.
    """

    bound_may_fall = True  # at the first visits, where documents start again
    #: The next gammas are written over those from before the last.
    recycles = True

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self._seen = Room()

    def first_state(self, topics: Topics, block: Documents) -> None:
        """Return None: documents begin with their first E-step."""

    def e_step(self, topics, block, state, *, bound=True, spare=None):
        """Return the expected counts of words in topics, and the documents' gammas."""
        gamma = _room(topics, block, spare)
        sweeps = min(_COLD_SWEEPS, self.max_sweeps)
        statistics = self._infer_and_sum(topics, block, gamma, None, bound, sweeps)
        statistics.visited = 0.0  # in the first pass, whose topics are hardly any
        return statistics, DocumentGammas(gamma, 1)

    def replace(self, topics, block, old, total, state, *, bound=True, spare=None):
        """Replace a block's old statistics in the total; its documents go on from their gamma."""
        sums, values, n_visits = old.word_topic, total.word_topic.values, state.n_visits + 1
        cold, gamma = n_visits <= _COLD_VISITS, _room(topics, block, spare)
        if cold:
            gamma[:, : self.n_topics] = 1
        else:
            gamma[...] = state.gamma
        sweeps = min(_COLD_SWEEPS if cold else _WARM_SWEEPS, self.max_sweeps)
        with self._seen.lend(values.shape, values.dtype) as seen:
            expected = self._expected_rows(topics, values, block.counts.word_id, seen)
            changes, inferred = self._update(
                topics, block, gamma, expected, sums.values, sweeps=sweeps, total=values
            )
        new = Statistics(
            weight=old.weight, word_topic=sums, totals=old.totals + changes, visited=0.0,
            **self._read(topics, block, inferred, bound),
        )  # fmt: skip
        for name in vars(new).keys() - {"word_topic"}:  # whose sums the kernel has replaced
            setattr(total, name, getattr(total, name) + (getattr(new, name) - getattr(old, name)))
        total.visited = self.progress_of(topics).visited + block.total_weight
        return new, DocumentGammas(gamma, n_visits)

    def _expected_rows(self, topics, values, rows, seen):
        """Return expected topics that are right for some words; `values` are the topics' sums.

        They are written to these rows of `seen`.
        """
        if self.priors.point_topics:
            return values, topics.scale
        if np.ndim(topics.prior) == 0:
            kernel.exp_digamma(values, topics.prior, seen, self.n_threads, rows)
        else:
            some = values[rows] + topics.prior[rows]
            kernel.exp_digamma(some, 0.0, some, self.n_threads)
            seen[rows] = some
        scale, small = topic_scale(topics, rows)
        set_columns(seen, small)
        return seen, scale

    def statistics_of(self, topics) -> Statistics:
        """Return what the M-step would make these topics of, nearly: the first ones are random."""
        sums = TopicSums(topics.sums, None, len(topics.sums))
        empty = {"log_theta": 0.0, "n_docs": 0.0} if self.learn_doc_topic else {}
        return Statistics(
            bound=0.0, weight=0.0, word_topic=sums, totals=topics.totals, visited=0.0, **empty
        )

    def _learn(self, progress, statistics, sums):
        """Return the progress with better priors, if all documents were gone through once more."""
        progress = progress._replace(visited=statistics.visited)
        if not 0 < 0.999 * statistics.weight <= progress.visited:
            return progress
        return super()._learn(progress._replace(visited=0.0), statistics, sums)


def _room(topics, block, spare):
    """Return an array for the documents' next gammas: a spare state's, or a new one."""
    if spare is not None:
        return spare.gamma
    return arrays.zeros((block.n_docs, topics.sums.shape[1]), topics.sums.dtype)
