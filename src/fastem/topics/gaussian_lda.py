"""Latent Dirichlet allocation whose topics are Gaussians over vectors."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fastem._base import EMEstimator, check_fitted_array, check_sample_weight, unchanged_on_error
from fastem._compat import Interval, StrOptions, fit_context
from fastem._data.sources import LENGTHS_APART, by_blocks, in_blocks, scores, source_of, survey
from fastem._data.survey import checked_weight
from fastem._engine.arrays import validate
from fastem._engine.threads import effective_n_jobs
from fastem._typing import CheckpointLike, MatrixLike, RandomStateLike
from fastem.components.gaussian_data import GaussianBlock
from fastem.topics.by_blocks import (
    bound_of_vectors,
    counted_block,
    first_of_sample,
    stacked_block,
    word_weights,
)
from fastem.topics.dirichlet import check_doc_topic_prior
from fastem.topics.documents import TopicModel, check_tokens
from fastem.topics.gaussian_lda_em import GaussianLDAEM, GaussianTopics, VectorDocuments
from fastem.topics.vectors import check_lengths, check_rows_of_vectors, check_vectors

__all__ = ["GaussianLDA"]


def _has_words(estimator):
    """Return whether topics have words, or say why not."""
    if estimator.vectors is None:
        raise AttributeError(
            "GaussianLDA has words only where it is given their `vectors` and fitted to counts"
        )
    return True


class GaussianLDA(TopicModel, EMEstimator):
    r"""Latent Dirichlet allocation over vectors: each topic is a Gaussian.

    A document is a bag of vectors, such as embeddings of its words or descriptors of the patches of
    an image. Its topics have a Dirichlet distribution, and the vectors of a topic k a Gaussian one
    with mean :math:`\mu_k` and variances :math:`\sigma_k^2`. The E-step of document i repeats

    .. math::
        q_{ijk} \propto N(x_{ij}; \mu_k, \operatorname{diag} \sigma_k^2) \exp \psi(\zeta_{ik}),
        \qquad \zeta_{ik} = \alpha_k + \sum_j q_{ijk}

    until :math:`\zeta_i` stays (Blei, Ng & Jordan 2003, *Latent Dirichlet allocation*, equations 6
    and 7, with densities in place of word probabilities); the M-step makes the means and variances
    those of the vectors, weighted by q. The means and variances are point estimates, so the bound
    is that of variational EM; Das, Zaheer & Dyer (2015, *Gaussian LDA for topic models with word
    embeddings*) give them a prior. Documents go on from the :math:`\zeta` of the last pass: the
    bound never falls except for what `reg_covar` adds. One thread or many give the same bits.

    Parameters
    ----------
    n_components : int, default=10
        Number of topics.
    vectors : array-like of shape (n_features, n_dimensions), default=None
        The words' vectors, if X are counts of words: then a document's equal words are looked at
        once, and a word's densities once in a pass. None: X are the vectors themselves.
    doc_topic_prior : float, array-like of shape (n_components,) or 'auto', default=None
        Alpha, of a document's topics; None: 1 / n_components. 'auto': learned, from
        1 / n_components on, by Newton's method and the fixed point of Minka (2000, *Estimating a
        Dirichlet distribution*).
    tol : float, default=1e-4
        Stop when the bound per vector changes by less than this; 0 never stops early.
    reg_covar : float, default=1e-6
        Added to the variances, in the square of the vectors' unit.
    max_iter : int, default=100
        Largest number of passes over the documents.
    n_init : int, default=1
        Number of starts; the fit with the largest bound is kept.
    init_params : {'k-means++', 'random_from_data'}, default='k-means++'
        How the first means are chosen among the vectors (at most 20,000 of them, drawn at random).
        The first variances are those of all vectors.
    means_init : array-like of shape (n_components, n_dimensions), default=None
        The first means; None: see `init_params`.
    mean_change_tol : float, default=1e-3
        A document is done when its zeta changes by less on average.
    max_doc_update_iter : int, default=100
        Largest number of updates of a document's zeta in a pass.
    random_state : int, RandomState instance or None, default=None
        Seed of the start.
    n_jobs : int, default=None
        Number of threads; None and -1: all physical cores.
    verbose : int, default=0
        1 prints every `verbose_interval`-th iteration, 2 with times and bounds.
    verbose_interval : int, default=10
        Number of iterations between two lines.

    Attributes
    ----------
    means_ : ndarray of shape (n_components, n_dimensions)
        Means of the topics.
    covariances_ : ndarray of shape (n_components, n_dimensions)
        Variances of the topics, the diagonals of their covariances.
    doc_topic_prior_ : ndarray of shape (n_components,)
        Alpha.
    components_ : ndarray of shape (n_components, n_features)
        With `vectors` alone: expected counts of the words in the topics, whose moments the means
        and variances are.
    lower_bound_ : float
        The evidence lower bound (ELBO) per vector of the best fit, before its last M-step.
    lower_bounds_ : list of float
        That of each iteration.
    n_iter_ : int
        Number of iterations of the best fit.
    converged_ : bool
        Whether it converged.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if X had names that are all strings.

    Notes
    -----
    :math:`\exp \psi(\zeta)` is taken for at least 1e-30, which matters where alpha is below 0.015:
    else a vector that comes to be nearer to a topic that its document has not had could hardly go
    there. The bound still does not fall, and comes out higher.

    Examples
    --------
    Three documents of four, three and five vectors, stacked:

    >>> import numpy as np
    >>> from fastem import GaussianLDA
    >>> X = np.array([0.1, 0, 5.1, -0.2, 5, 4.8, 5.3, 0.2, 5.2, 0, 5, 0]).reshape(-1, 1)
    >>> lda = GaussianLDA(2, random_state=0).fit(X, lengths=[4, 3, 5])
    >>> np.sort(lda.means_, axis=0).round(2).tolist()
    [[0.02], [5.07]]

    The same as counts of words that have vectors:

    >>> words = GaussianLDA(2, vectors=[[0.0], [0.2], [5.0], [5.2]], random_state=0)
    >>> words = words.fit([[2, 1, 1, 0], [0, 0, 1, 2], [1, 2, 2, 0]])
    >>> sorted(words.top_words(["cat", "dog", "car", "bus"], n=2))
    [['car', 'bus'], ['cat', 'dog']]
    """

    means_: np.ndarray
    covariances_: np.ndarray
    doc_topic_prior_: np.ndarray

    n_iter_: int
    _parameter_constraints: ClassVar[dict] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "vectors": ["array-like", None],
        "doc_topic_prior": [
            None, StrOptions({"auto"}), Interval(Real, 0, None, closed="neither"), "array-like",
        ],
        "tol": [Interval(Real, 0, None, closed="left")],
        "reg_covar": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init_params": [StrOptions({"k-means++", "random_from_data"})],
        "means_init": ["array-like", None],
        "mean_change_tol": [Interval(Real, 0, None, closed="left")],
        "max_doc_update_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
    }  # fmt: skip

    def __init__(
        self,
        n_components: int = 10,
        *,
        vectors: npt.ArrayLike | None = None,
        doc_topic_prior: npt.ArrayLike | None = None,
        tol: float = 1e-4,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "k-means++",
        means_init: npt.ArrayLike | None = None,
        mean_change_tol: float = 1e-3,
        max_doc_update_iter: int = 100,
        random_state: RandomStateLike = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        verbose_interval: int = 10,
    ) -> None:
        self.n_components = n_components
        self.vectors = vectors
        self.doc_topic_prior = doc_topic_prior
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.means_init = means_init
        self.mean_change_tol = mean_change_tol
        self.max_doc_update_iter = max_doc_update_iter
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    # ---- fitting ---------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: MatrixLike,
        y: Any = None,
        lengths: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
        *,
        checkpoint: CheckpointLike = None,
    ) -> Self:
        """Fit the topics.

        Parameters
        ----------
        X : array-like of shape (n_vectors, n_dimensions), or {array-like, sparse matrix} of shape \
(n_documents, n_features)
            The documents' vectors, one document after the other; or with `vectors` the counts of
            words in documents, not negative.
        y : Ignored
            Present for API consistency.
        lengths : array-like of shape (n_documents,), default=None
            Numbers of vectors of the documents, which sum to the rows of X; None: all of X is one
            document. Not with counts.
        sample_weight : array-like of shape (n_documents,), default=None
            Non-negative weights: a document of weight 2 counts as two equal documents.
        checkpoint : em.Checkpoint or path, default=None
            Where the fit is written to as it goes. A fit that was killed goes on from there and
            ends with the same bits: see :class:`fastem.em.Checkpoint`. `random_state` must be set.

        Returns
        -------
        self : object
            The fitted model.

        Raises
        ------
        ValueError
            If an argument is invalid, or a topic's variance falls to 0: then `reg_covar` is too
            small.

        Warns
        -----
        ConvergenceWarning
            If the best start did not converge within `max_iter` iterations.
        """
        with unchanged_on_error(self):
            self._open_checkpoint(checkpoint, X, lengths=lengths, sample_weight=sample_weight)
            source = source_of(self, X, sample_weight)
            if source is not None:
                result = self._fit_source(source, lengths)
            else:
                result = self._fit_array(X, lengths, sample_weight)
        if not result.converged and self.tol > 0:
            warnings.warn(
                f"GaussianLDA did not converge in max_iter={self.max_iter} iterations: increase "
                "max_iter or tol",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _fit_source(self, source, lengths):
        """Fit to documents that come in blocks; return the result."""
        if lengths is not None:
            raise TypeError(LENGTHS_APART)
        counted = self.vectors is not None
        vectors = check_vectors(self.vectors) if counted else None
        extra, least = (word_weights, None) if counted else (None, 1000)
        found = survey(source, extra, self.random_state, least)
        self._set_fitted(found.attributes())
        if counted:
            check_rows_of_vectors(vectors, found.n_features)
            vectors = GaussianBlock.of(vectors, None, "vectors")
        prior = check_doc_topic_prior(self.doc_topic_prior, self.n_components)
        alpha = np.broadcast_to(prior, self.n_components)
        model = self._model(alpha, np.empty((0, 1), found.dtype), vectors)
        starts = source.call(first_of_sample, self, model, found, self.n_init, source.sample)
        source.sample = None  # which takes memory
        return self._fit_em(
            model,
            source.prepared(counted_block if counted else stacked_block),
            starts.__getitem__,
            n_init=self.n_init,
            executor=source.executor,
        )

    @property
    def _lengths_follow(self):
        return self.vectors is None

    def _open_block(self, block):
        """Return rows of a block, their weights, and what documents they are of."""
        parts = block if isinstance(block, tuple) else (block,)
        if self.vectors is not None:
            X, weight = (*parts, None)[:2]
            dtype = np.float32 if np.asarray(self.vectors).dtype == np.float32 else np.float64
            X = self._validated(X, reset=True, dtype=dtype)
            return X, None if weight is None else checked_weight(weight, X.shape[0], True)
        X, lengths, weight = (*parts, None, None)[:3]
        X, lengths, _ = self._data(X, lengths, reset=True)
        if weight is None:
            return X, None, lengths, None
        weight = checked_weight(weight, len(lengths), True)
        return X, np.repeat(weight, lengths), lengths, weight

    def _fit_array(self, X, lengths, sample_weight):
        """Fit to documents in memory; return the result."""
        X, lengths, vectors = self._data(X, lengths, reset=True)
        documents = X if lengths is None else lengths
        sample_weight = check_sample_weight(sample_weight, documents)
        prior = check_doc_topic_prior(self.doc_topic_prior, self.n_components)
        model = self._model(np.broadcast_to(prior, self.n_components), X, vectors)
        blocks = self._blocks(X, lengths, sample_weight)
        weights = [block.word_weight for block in blocks]
        if vectors is None:
            draw = self._starts(model, GaussianBlock.of(X, None), np.concatenate(weights))
        else:
            draw = self._starts(model, vectors, sum(weights))
        return self._fit_em(
            model, blocks, draw, n_init=self.n_init, X=documents, sample_weight=sample_weight
        )

    def fit_transform(
        self,
        X: MatrixLike,
        y: Any = None,
        lengths: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> np.ndarray:
        """Fit the topics and return those of the documents.

        Parameters
        ----------
        X, y, lengths, sample_weight
            See :meth:`fit`.

        Returns
        -------
        doc_topic : ndarray of shape (n_documents, n_components)
            What ``fit(X).transform(X)`` returns.
        """
        return self.fit(X, lengths=lengths, sample_weight=sample_weight).transform(X, lengths)

    def _model(self, alpha, X, vectors):
        return GaussianLDAEM(
            alpha,
            X.dtype,
            vectors,
            self.reg_covar,
            effective_n_jobs(self.n_jobs),
            max_sweeps=self.max_doc_update_iter,
            tol=self.mean_change_tol,
            learn=isinstance(self.doc_topic_prior, str),
        )

    def _blocks(self, X, lengths, sample_weight=None):
        if self.vectors is not None:
            return VectorDocuments.of_counts(X, sample_weight)
        return VectorDocuments.of_stacked(X, lengths, self.n_components, sample_weight)

    def _starts(self, model, vectors, weight):
        """Return a function that draws first topics: means among the vectors, one variance."""
        k, d = self.n_components, vectors.X.shape[1]
        n_vectors, random_state = np.count_nonzero(weight), check_random_state(self.random_state)
        if n_vectors == 0:
            raise ValueError("X has no vector in a document of positive weight: nothing to fit")
        means = None
        if self.means_init is not None:
            means = check_array(self.means_init, dtype=np.float64, input_name="means_init")
            if means.shape != (k, d):
                raise ValueError(
                    f"means_init must have shape {(k, d)}, a mean for each topic, got {means.shape}"
                )
        elif n_vectors < k:
            raise ValueError(
                f"n_components={k} must be at most the number of vectors that the documents have, "
                f"{n_vectors}: take fewer topics, or give means_init"
            )
        return lambda _: model.first_topics(vectors, weight, self.init_params, random_state, means)

    def _attributes(self, params) -> dict[str, Any]:
        k = len(params.means)
        attributes = {
            "means_": params.means,
            "covariances_": params.covariances,
            "doc_topic_prior_": params.doc_topic_prior,
        }
        if params.word_topic is not None:
            attributes["components_"] = params.word_topic[:, :k].T
        return {name: np.array(a, params.dtype, order="C") for name, a in attributes.items()}

    # ---- what comes in ---------------------------------------------------------------------

    def _data(self, X, lengths, *, reset):
        """Return X, the lengths (None for counts), and the words' vectors (None without)."""
        if self.vectors is None:
            X = validate(
                self, X, reset=reset, dtype=[np.float64, np.float32], accept_large_sparse=False
            )
            return X, check_lengths(lengths, len(X)), None
        if lengths is not None:
            raise ValueError(
                "lengths must be None with `vectors`: then each row of X is a document, its counts "
                "of words"
            )
        vectors = check_vectors(self.vectors)
        X = self._validated(X, reset=reset, dtype=vectors.dtype)
        check_rows_of_vectors(vectors, X.shape[1])
        return X, None, GaussianBlock.of(vectors, None, "vectors")

    # ---- documents -------------------------------------------------------------------------

    @by_blocks
    def transform(self, X: MatrixLike, lengths: npt.ArrayLike | None = None) -> np.ndarray:
        """Return the topics of documents.

        Parameters
        ----------
        X : array-like of shape (n_vectors, n_dimensions), or {array-like, sparse matrix} of shape \
(n_documents, n_features)
            As in :meth:`fit`.
        lengths : array-like of shape (n_documents,), default=None
            Numbers of vectors of the documents; None: all of X is one document.

        Returns
        -------
        doc_topic : ndarray of shape (n_documents, n_components)
            Expected share of each topic: zeta, normalised. A document without vectors has alpha's.
        """
        model, topics, blocks = self._read(X, lengths)
        zeta = np.concatenate([model.infer(topics, block) for block in blocks])
        return zeta / zeta.sum(axis=1, keepdims=True)

    def score(self, X: MatrixLike, y: Any = None, lengths: npt.ArrayLike | None = None) -> float:
        """Return the evidence lower bound (ELBO) per vector of documents, from their own zeta.

        Parameters
        ----------
        X, lengths
            See :meth:`transform`.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        bound : float
            Higher is better.

        Raises
        ------
        ValueError
            If no document has a vector.
        """
        if lengths is not None and in_blocks(X):
            raise TypeError(LENGTHS_APART)
        parts = scores(self, bound_of_vectors, X, None)
        bound, total = np.sum(parts or [self._bound_and_weight(X, lengths)], axis=0)
        check_tokens(total, "X", "ELBO per vector")
        return float(bound / total)

    def _bound_and_weight(self, X, lengths):
        """Return the ELBO of documents, and the number of their vectors."""
        model, topics, blocks = self._read(X, lengths)
        sums = (model.e_step(topics, block, None)[0] for block in blocks)
        return np.sum([(some.bound, some.weight) for some in sums], axis=0)

    def _read(self, X, lengths):
        """Return the fitted model, its topics and blocks of new documents."""
        check_is_fitted(self)
        k, d = check_fitted_array(self, "means_", (None, None)).shape
        check_fitted_array(self, "covariances_", (k, d), positive=True)
        check_fitted_array(self, "doc_topic_prior_", (k,), positive=True)
        X, lengths, vectors = self._data(X, lengths, reset=False)
        topics = GaussianTopics.of(self.means_, self.covariances_, self.doc_topic_prior_)
        return self._model(topics.doc_topic_prior, X, vectors), topics, self._blocks(X, lengths)

    if not TYPE_CHECKING:  # to a type checker they are TopicModel's
        top_words = available_if(_has_words)(TopicModel.top_words)
        coherence = available_if(_has_words)(TopicModel.coherence)
        summary = available_if(_has_words)(TopicModel.summary)
        inverse_transform = available_if(_has_words)(TopicModel.inverse_transform)

    @property
    def _n_features_out(self):
        return len(self.means_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.input_tags.positive_only = self.vectors is not None
        return tags
