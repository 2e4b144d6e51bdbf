"""Gaussian-topic LDA: the model that the driver fits.

It is made of what mixtures and topics have: the densities of vectors are those of a Gaussian
mixture, a document's topics are those of LDA with densities in place of words' probabilities, and
the topics' means and variances are a mixture's under given responsibilities. Each part is a kernel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from fastem._engine import arrays
from fastem._engine.kept import Kept, Room
from fastem._engine.statistics import Moments, Statistics
from fastem._kernels import topics as topics_kernel
from fastem.components.covariances import KINDS
from fastem.components.gaussian import GaussianEM, GaussianParams
from fastem.components.gaussian_data import GaussianBlock, evaluate
from fastem.components.gaussian_start import initial_responsibilities
from fastem.topics.dirichlet import fit_dirichlet
from fastem.topics.documents import Documents, padded
from fastem.topics.variational import Inferred, document_statistics

__all__ = ["GaussianLDAEM", "GaussianTopics", "VectorDocuments"]

_BLOCK_BYTES = 4 << 20  # of the densities that a block of stacked vectors has at once
#: exp(digamma(gamma)) is taken for at least this. Densities of a vector under two topics may differ
#: by more than exp can tell; a topic that a document has not had yet must not be 0 for it as well.
_LEAST_THETA = 1e-30
_MOST_CANDIDATES = 20_000  # vectors among which first means are chosen
_LEAST_COUNT = 1e-30  # an expected count below it is none: a topic's inverse weight would overflow


class GaussianTopics(NamedTuple):
    """Parameters: topics that are Gaussians with diagonal covariances, and their prior."""

    means: np.ndarray  # (K, D) float64
    covariances: np.ndarray  # (K, D) float64
    precisions_cholesky: np.ndarray  # (K, D) 1 / sqrt(covariances)
    doc_topic_prior: np.ndarray  # (K,) float64: alpha
    dtype: np.dtype  # of the vectors
    word_topic: np.ndarray | None = None  # (V, width) the expected counts whose moments they are

    @classmethod
    def of(cls, means, covariances, doc_topic_prior):
        """Return fitted attributes as parameters."""
        dtype = np.asarray(means).dtype
        means, covariances, prior = (
            np.asarray(a, dtype=np.float64) for a in (means, covariances, doc_topic_prior)
        )
        return cls(means, covariances, 1 / np.sqrt(covariances), prior, dtype)

    def mixture(self, width):
        """Return a mixture of these topics with weights of 1, and others of 0 up to the width."""
        k, d = self.means.shape
        if width == k:
            return GaussianParams(
                np.ones(k), self.means, None, self.precisions_cholesky, self.dtype
            )
        weights, means, chol = np.zeros(width), np.zeros((width, d)), np.ones((width, d))
        weights[:k], means[:k], chol[:k] = 1, self.means, self.precisions_cholesky
        return GaussianParams(weights, means, None, chol, self.dtype)


class VectorDocuments:
    """A block of documents: counts of vectors, and the vectors if they are the block's own.

    Parameters
    ----------
    documents : Documents
        Their counts; the words are vectors.
    word_weight : ndarray of shape (V,), float64
        Total count of each vector, in weighted documents.
    vectors : GaussianBlock or None
        V vectors; None: those of the model.
    """

    def __init__(self, documents, word_weight, vectors):
        self.documents, self.word_weight, self.vectors = documents, word_weight, vectors
        # A word that does not occur may be far from all topics.
        self.told = slice(None) if word_weight.all() else word_weight > 0

    @classmethod
    def of_counts(cls, X, sample_weight=None):
        """Return validated counts, a CSR array, in as few blocks as can be."""
        blocks, rows = Documents.blocks(X, sample_weight)
        found = []
        for documents, some in zip(blocks, rows, strict=True):
            weight = np.ones(documents.n_docs) if sample_weight is None else sample_weight[some]
            found.append(cls(documents, weight @ X[some], None))
        return found

    @classmethod
    def of_stacked(cls, X, lengths, n_topics, sample_weight=None):
        """Return validated vectors, and documents of these lengths, in blocks of limited memory."""
        ends, found, first = np.cumsum(lengths), [], 0
        most = _BLOCK_BYTES // (topics_kernel.width(n_topics, X.dtype) * X.itemsize)
        while first < len(lengths):
            begin = ends[first] - lengths[first]
            # As many as are allowed, or the first that has a vector; then those that have none.
            last = max(np.searchsorted(ends, begin + most, "right") - 1,
                       np.searchsorted(ends, begin, "right"))  # fmt: skip
            last = np.searchsorted(ends, ends[min(last, len(ends) - 1)], "right")
            found.append(cls.of_block(
                X[begin : ends[last - 1]], lengths[first:last],
                None if sample_weight is None else sample_weight[first:last],
            ))  # fmt: skip
            first = last
        return found

    @classmethod
    def of_block(cls, X, lengths, sample_weight):
        """Return a block in which each vector is a word of its own."""
        n, n_docs = len(X), len(lengths)
        begins = np.concatenate([[0], np.cumsum(lengths)])
        each = np.ones(n, X.dtype), np.arange(n, dtype=np.int32), begins
        documents = Documents(sp.csr_array(each, shape=(n_docs, n)), sample_weight)
        weight = np.ones(n) if sample_weight is None else np.repeat(sample_weight, lengths)
        return cls(documents, weight, GaussianBlock.of(X, None))


class GaussianLDAEM:
    """E-step and M-step of Gaussian-topic LDA (see :class:`fastem.em.Model`).

    Documents go on from the gamma of their last E-step, so the bound of a batch fit does not fall.

    Parameters
    ----------
    doc_topic_prior : ndarray of shape (K,)
        Alpha, or where it begins.
    dtype : dtype
        Of the vectors.
    vectors : GaussianBlock or None
        The vectors of the words that blocks count; None: blocks have vectors of their own.
    reg_covar : float
        Added to the variances.
    n_threads : int
    max_sweeps, tol : int, float
        How often, and how exactly, a document's gamma is updated.
    learn : bool
        Whether alpha is learned.
    """

    def __init__(
        self, doc_topic_prior, dtype, vectors, reg_covar, n_threads, *, max_sweeps, tol, learn=False
    ):  # fmt: skip
        self.doc_topic_prior = np.asarray(doc_topic_prior, dtype=np.float64)
        self.n_topics, self.dtype, self.vectors = len(doc_topic_prior), np.dtype(dtype), vectors
        self._rounding = 2 * float(np.finfo(dtype).eps)
        self.reg_covar, self.gaussian = reg_covar, GaussianEM("diag", 0.0, dtype, n_threads)
        self.n_threads, self.max_sweeps, self.tol = n_threads, max_sweeps, float(tol)
        self.learn = learn
        self._densities, self._prior, self._room = Kept(), Kept(), Room()

    #: By what `reg_covar` adds to the variances, and by rounding.
    bound_may_fall = True
    #: The next gammas are written over those from before the last.
    recycles = True

    # ---- E-step --------------------------------------------------------------------------------

    def first_state(self, topics: GaussianTopics, block: VectorDocuments) -> None:
        """Return None: documents begin with their first E-step. A state is their gamma."""

    def e_step(self, topics, block, state, *, bound=True, spare=None):
        """Return the expected counts of words in topics, or the moments of a block's vectors.

        The documents' gamma, (D, width), comes with them.
        """
        documents = block.documents
        densities, log_scale = self._vector_densities(topics, block)
        sums = documents.empty_sums(densities)
        inferred = self._update(topics, block, state, densities, sums.values, spare)
        statistics = document_statistics(
            topics.doc_topic_prior, documents, inferred, self.n_threads, bound=bound,
            learn=self.learn,
        )  # fmt: skip
        if bound:
            told = block.told
            statistics["bound"] += float(block.word_weight[told] @ log_scale[told])
        if block.vectors is None:
            statistics["word_topic"] = sums
        else:
            at = topics.mixture(self.n_topics)
            given = self._given(sums)
            statistics["moments"] = self.gaussian.moments(at, block.vectors, given)[1]
        return Statistics(weight=documents.total_weight, **statistics), inferred.gamma

    def infer(self, topics, block, state=None):
        """Return the documents' gamma, (D, K), without a thought for the topics."""
        densities, _ = self._vector_densities(topics, block)
        return self._update(topics, block, state, densities, None).gamma[:, : self.n_topics]

    def _update(self, topics, block, state, densities, sums, spare=None):
        """Return what is found of the documents; set the sums if they are asked for."""
        documents, k = block.documents, self.n_topics
        shape = documents.n_docs, densities.shape[1]
        gamma = arrays.zeros(shape, self.dtype) if spare is None else spare
        if state is None:
            gamma[:, :k] = 1
        else:
            gamma[...] = state
        prior, ones = self._padded_prior(topics.doc_topic_prior)
        inferred = Inferred(gamma, np.empty(documents.n_docs))
        with self._room.lend(shape, self.dtype) as theta:
            topics_kernel.dirichlet_e_step(
                topics_kernel.Job(documents.counts, k, densities, ones),
                gamma, prior, theta, inferred.log_likelihood, sums, self.n_threads,
                max_sweeps=self.max_sweeps, tol=self.tol, least_theta=_LEAST_THETA,
            )  # fmt: skip
        return inferred

    def _padded_prior(self, alpha):
        """Return alpha with the kernel's width, (width,), and as many ones, to read."""
        rows = self._prior.look(alpha)
        if rows is None:
            rows = padded(np.stack([alpha, np.ones_like(alpha)]), self.n_topics, self.dtype)
            self._prior.keep(alpha, rows)
        return rows

    def _vector_densities(self, topics, block):
        """Return the densities of the block's vectors; those of words are computed once a pass."""
        if block.vectors is not None:
            return self._compute_densities(topics, block.vectors)
        densities = self._densities.look(topics)
        if densities is None:
            densities = self._compute_densities(topics, self.vectors)
            self._densities.keep(topics, densities)
        return densities

    def _compute_densities(self, topics, vectors):
        """Return vectors' densities under topics, (V, width), by their sum, and its log, (V,)."""
        n_vectors, width = len(vectors.X), topics_kernel.width(self.n_topics, self.dtype)
        densities = np.empty((n_vectors, width), self.dtype)
        mixture, scaling = topics.mixture(width), vectors.scaling
        log_scale = evaluate(
            vectors.X, scaling, mixture, "diag", self.n_threads, responsibilities=densities
        )
        return densities, log_scale

    def _given(self, sums):
        """Return expected counts as responsibilities."""
        given = sums.dense()[:, : self.n_topics].astype(np.float64)
        given[given < _LEAST_COUNT] = 0
        return given

    # ---- M-step --------------------------------------------------------------------------------

    def m_step(self, statistics: Statistics) -> GaussianTopics:
        """Return the moments of the topics' vectors, and alpha if it is learned."""
        word_topic = None
        if self.vectors is None:
            moments = statistics.moments
        else:
            word_topic = statistics.word_topic
            moments = self.gaussian.given_moments(self._given(word_topic), self.vectors)
        alpha = self.doc_topic_prior
        if self.learn and statistics.n_docs > 0:
            alpha = fit_dirichlet(alpha, statistics.log_theta / statistics.n_docs)
        return self.topics(moments, alpha)._replace(
            word_topic=None if word_topic is None else word_topic.dense()
        )

    def topics(self, moments: Moments, alpha) -> GaussianTopics:
        """Return topics of given moments; one without vectors restarts between the others."""
        weight, means = moments.weight, moments.mean
        some_dead = np.minimum.reduce(weight) == 0
        divisor = np.where(weight > 0, weight, np.nan) if some_dead else weight
        variances = moments.scatter / divisor[:, None]
        # a spread that rounding may have made is none
        variances[variances <= (self._rounding * means) ** 2] = 0
        if some_dead and (total := weight.sum()) > 0:
            dead, means = weight == 0, means.copy()
            means[dead] = weight @ moments.mean / total
            variances[dead] = moments.scatter.sum(axis=0) / total
        variances += self.reg_covar
        chol = KINDS["diag"].checked_roots(variances)
        return GaussianTopics(means, variances, chol, alpha, self.dtype)

    def first_topics(self, vectors, weight, method, random_state, means=None) -> GaussianTopics:
        """Return topics with given means, or means among weighted vectors, all with their variance.

        `method` is one of those of a Gaussian mixture that choose vectors.
        """
        whole = self.gaussian.given_moments(weight[:, None], vectors)
        if means is None:
            rows = np.flatnonzero(weight)
            if len(rows) > _MOST_CANDIDATES:
                rows = np.sort(random_state.choice(rows, _MOST_CANDIDATES, replace=False))
            some = GaussianBlock.of(vectors.X[rows], weight[rows])
            chosen = initial_responsibilities(method, self.n_topics, some, random_state)
            means = some.X[chosen.indices].astype(np.float64)
        k = self.n_topics
        alike = np.repeat(whole.weight, k), means, np.repeat(whole.scatter, k, axis=0)
        return self.topics(Moments(*alike, "diag"), self.doc_topic_prior)
