"""Probabilistic latent semantic analysis by EM over sparse counts."""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from fastem._base import EMEstimator, check_sample_weight, unchanged_on_error
from fastem._compat import Interval, StrOptions, fit_context
from fastem._data.sources import by_blocks, scores, source_of
from fastem._engine.threads import effective_n_jobs, useful_n_jobs
from fastem._typing import CheckpointLike, MatrixLike, RandomStateLike
from fastem.topics.by_blocks import DocumentBlock, survey_counts
from fastem.topics.documents import (
    Documents,
    TopicModel,
    Topics,
    check_tokens,
    check_total,
    log_likelihood,
)
from fastem.topics.plsa_em import PLSAEM, batch_size_of, given_topics, starts
from fastem.topics.plsa_streaming import StreamingPLSA
from fastem.topics.tempering import Annealing, hold_out
from fastem.topics.vocabulary import occurring, of_occurring

__all__ = ["PLSA"]

# What rises between two visits of the incremental algorithm is extrapolated, as in block
# majorisation-minimisation with extrapolation (Hien, Leplat & Gillis 2025); what falls is not, for
# a topic that reached 0 would be lost. By so much at first; a batch whose likelihood falls goes on
# more carefully. 3 to 5 and 1.5 to 2.5 were alike on four corpora. Momentum, of the documents
# alone, keeps from oscillating what relaxation makes oscillate; of the sums it gained nothing.
_RELAX, _MOMENTUM = 4.0, 2.0


class PLSA(StreamingPLSA, TopicModel, EMEstimator):
    r"""Probabilistic latent semantic analysis (Hofmann 1999).

    A topic model without a prior: the words of document d are drawn from
    :math:`p(w \mid d) = \sum_z p(w \mid z) \, p(z \mid d)`. The E-step is

    .. math:: p(z \mid d, w) \propto p(w \mid z) \, p(z \mid d)

    and the M-step, with n the counts,

    .. math:: p(w \mid z) \propto \sum_d n_{dw} \, p(z \mid d, w), \qquad
        p(z \mid d) \propto \sum_w n_{dw} \, p(z \mid d, w)

    (Hofmann 2001, *Unsupervised learning by probabilistic latent semantic analysis*, Machine
    Learning 42:177, equations 3-6). Up to a constant, the log-likelihood is minus the generalised
    Kullback-Leibler divergence that non-negative matrix factorisation can minimise.

    Parameters
    ----------
    n_components : int, default=10
        Number of topics.
    init : 'random' or (doc_topic, topic_word), default='random'
        First parameters: random, or arrays of shape (n_samples, n_components) and (n_components,
        n_features), whose rows are normalised.
    algorithm : {'batch', 'incremental'}, default='batch'
        'batch': an M-step after all documents; the likelihood never falls. 'incremental': an M-step
        after every `batch_size` documents (Neal & Hinton 1998), over-relaxed and with momentum. It
        reaches the same likelihood several times sooner and mostly ends higher, but keeps the sums
        of each batch, `n_components` numbers for every different word in it, and the documents'
        topics four times. The likelihood may fall a little for an iteration.
    batch_size : int, default=None
        Number of documents in a batch of the incremental algorithm. None: a third of them, but
        enough that a batch is a million multiplications of a count with a topic, at most 10,000.
        Smaller batches hardly need fewer iterations, and each of these takes longer.
    max_iter : int, default=200
        Largest number of EM iterations.
    tol : float, default=1e-5
        EM stops when the mean log-likelihood per token changes by less than this.
    evaluate_every : int, default=1
        The likelihood is computed, and `tol` looked at, in every so many iterations.
    doc_topic_prior : float, default=0.0
        Pseudo-count added to every topic of a document: a Dirichlet prior with this plus 1, MAP.
        0 is maximum likelihood.
    topic_word_prior : float, default=0.0
        Pseudo-count added to every word of a topic.
    beta : float in (0, 1] or 'held-out', default=1.0
        Inverse temperature of the E-step, p(z|d,w) ~ (p(w|z) p(z|d))^beta: less than 1 counters
        overfitting (Hofmann 2001, section 3.5). 'held-out' finds it: from 1, where a part of the
        counts that the fit does not see becomes less probable, beta is lowered by a tenth, as long
        as that helps.
    validation_fraction : float, default=0.1
        The part of the counts that is held out if ``beta='held-out'``.
    n_init : int, default=1
        Number of random restarts; the one with the largest bound is kept.
    max_doc_update_iter : int, default=100
        Largest number of E-steps for a document in `transform`.
    doc_tol : float, default=1e-3
        `transform` is done with a document when its topic probabilities change by less than this
        in sum.
    random_state : int, RandomState instance or None, default=None
        Seed of the start.
    verbose : int, default=0
        1 prints each restart and every `verbose_interval`-th iteration, 2 also times and bounds.
    verbose_interval : int, default=10
        Number of iterations between two lines.
    n_jobs : int, default=None
        Number of threads; None and -1: all physical cores. The bits of the result do not depend
        on it.
    learning_decay : float, default=0.7
        Of `partial_fit`, whose step is (learning_offset + number of the step)^-learning_decay; in
        (0.5, 1].
    learning_offset : float, default=10.0
        Slows the first steps of `partial_fit`; at least 1.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        p(w|z): rows sum to 1.
    beta_ : float
        The inverse temperature of the topics.
    validation_scores_ : list of float
        With ``beta='held-out'``: the mean log-likelihood per held-out token at each iteration.
    lower_bound_ : float
        The last mean log-likelihood per token (with priors, plus their log-density; with `beta`
        below 1, the free energy that stands in its place).
    lower_bounds_ : list of float
        The same at each iteration that computed it.
    n_iter_ : int
        Number of iterations of the best restart.
    converged_ : bool
        Whether it converged.
    n_features_in_ : int
        Number of words.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the words, if X had names that are all strings.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import PLSA
    >>> X = np.array([[3, 2, 0, 0], [2, 3, 0, 0], [0, 0, 4, 1], [0, 0, 1, 4]])
    >>> plsa = PLSA(n_components=2, random_state=0).fit(X)
    >>> plsa.components_.round(2)
    array([[0.5, 0.5, 0. , 0. ],
           [0. , 0. , 0.5, 0.5]])
    >>> plsa.top_words(["cat", "dog", "tea", "cup"], 2)
    [['cat', 'dog'], ['tea', 'cup']]
    """

    beta_: float
    validation_scores_: list[float]

    _parameter_constraints: ClassVar[dict] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions({"random"}), tuple, list],
        "algorithm": [StrOptions({"batch", "incremental"})],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "evaluate_every": [Interval(Integral, 1, None, closed="left")],
        "doc_topic_prior": [Interval(Real, 0, None, closed="left")],
        "topic_word_prior": [Interval(Real, 0, None, closed="left")],
        "beta": [Interval(Real, 0, 1, closed="right"), StrOptions({"held-out"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_doc_update_iter": [Interval(Integral, 1, None, closed="left")],
        "doc_tol": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        **StreamingPLSA._step_constraints,
    }

    def __init__(
        self,
        n_components: int = 10,
        *,
        init: str | tuple[npt.ArrayLike, npt.ArrayLike] = "random",
        algorithm: str = "batch",
        batch_size: int | None = None,
        max_iter: int = 200,
        tol: float = 1e-5,
        evaluate_every: int = 1,
        doc_topic_prior: float = 0.0,
        topic_word_prior: float = 0.0,
        beta: float | str = 1.0,
        validation_fraction: float = 0.1,
        n_init: int = 1,
        max_doc_update_iter: int = 100,
        doc_tol: float = 1e-3,
        random_state: RandomStateLike = None,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_jobs: int | None = None,
        learning_decay: float = 0.7,
        learning_offset: float = 10.0,
    ) -> None:
        self.n_components = n_components
        self.init = init
        self.algorithm = algorithm
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.evaluate_every = evaluate_every
        self.doc_topic_prior = doc_topic_prior
        self.topic_word_prior = topic_word_prior
        self.beta = beta
        self.validation_fraction = validation_fraction
        self.n_init = n_init
        self.max_doc_update_iter = max_doc_update_iter
        self.doc_tol = doc_tol
        self.random_state = random_state
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_jobs = n_jobs
        self.learning_decay, self.learning_offset = learning_decay, learning_offset

    # ---- fitting ---------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: MatrixLike,
        y: Any = None,
        sample_weight: npt.ArrayLike | None = None,
        *,
        checkpoint: CheckpointLike = None,
    ) -> Self:
        """Fit the topics.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or Blocks
            Non-negative counts of words (columns) in documents (rows); they need not be integers.
            :class:`fastem.Blocks` are read again in each pass; the documents' topics are kept.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
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
            If an argument is invalid: negative or missing counts, or no word at all.

        Warns
        -----
        ConvergenceWarning
            If the best restart did not converge within `max_iter` iterations.
        """
        self._fit(X, sample_weight, checkpoint)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def fit_transform(
        self, X: MatrixLike, y: Any = None, sample_weight: npt.ArrayLike | None = None
    ) -> np.ndarray:
        """Fit the topics and return the documents' topic probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        doc_topic : ndarray of shape (n_samples, n_components)
            p(z|d), equal to ``fit(X).transform(X)``.
        """
        counts = self._fit(X, sample_weight)
        if counts is None:  # they came in blocks
            return self.transform(X)
        return self._fold_in(counts)[0][:, : self.n_components].copy()

    def _fit(self, X, sample_weight, checkpoint=None):
        """Fit; return the validated counts, or None where they came in blocks."""
        with unchanged_on_error(self):
            n_threads = effective_n_jobs(self.n_jobs)
            self._open_checkpoint(checkpoint, X, sample_weight=sample_weight)
            source = source_of(self, X, sample_weight)
            if source is not None:
                X, result = None, self._fit_source(source, n_threads)
            else:
                X, result = self._fit_array(X, sample_weight, n_threads)
        if not result.converged and self.max_iter > 0:
            warnings.warn(
                f"PLSA did not converge in max_iter={self.max_iter} iterations: increase max_iter "
                "or tol",
                ConvergenceWarning,
                stacklevel=3,
            )
        return X

    def _fit_source(self, source, n_threads):
        """Fit to documents that come in blocks; return the result."""
        if not isinstance(self.init, str):
            raise ValueError(
                "init must be 'random' for blocks, whose documents have no topics to begin with"
            )
        if self.beta == "held-out":
            raise ValueError(
                "beta='held-out' holds words out of documents in memory: give a number for blocks"
            )
        if source.executor is not None and self.algorithm != "batch":
            raise ValueError(
                f"algorithm={self.algorithm!r} goes from block to block, which workers cannot do "
                "side by side: take 'batch' for Dask collections"
            )
        found = survey_counts(self, source)
        if found.extra == 0:
            raise ValueError("the blocks have no count above 0: there is nothing to fit topics to")
        random_state = check_random_state(self.random_state)
        return self._fit_em(
            self._model(n_threads, float(self.beta)),
            source.prepared(DocumentBlock()),
            starts(found.n_features, self.n_components, found.dtype, random_state),
            schedule=self.algorithm,
            evaluate_every=self.evaluate_every,
            n_init=self.n_init,
            executor=source.executor,
        )

    def _model(self, n_threads, beta, vocabulary=None):
        return PLSAEM(
            self.n_components,
            self.doc_topic_prior,
            self.topic_word_prior,
            n_threads,
            beta=beta,
            relax=_RELAX,
            momentum=_MOMENTUM,
            vocabulary=vocabulary,
        )

    def _fit_array(self, X, sample_weight, n_threads):
        """Fit to documents in memory; return the validated counts and the result."""
        X = self._validated(X, "fit", reset=True)
        if not X.data.any():
            raise ValueError("X has no count above 0: there is nothing to fit topics to")
        sample_weight = check_sample_weight(sample_weight, X)
        if sample_weight is not None:
            check_total(X, sample_weight)
        given = (
            None
            if isinstance(self.init, str)
            else given_topics(self.init, self.n_components, X.shape)
        )
        if self.n_components > X.shape[1]:
            warnings.warn(
                f"n_components={self.n_components} is more than the {X.shape[1]} words of X: "
                "topics will repeat each other",
                stacklevel=4,
            )
        random_state = check_random_state(self.random_state)
        (counts, vocabulary), held = occurring(X), None
        if self.beta == "held-out":
            counts, held = hold_out(counts, self.validation_fraction, random_state)
        incremental = self.algorithm == "incremental"
        batch_size = (
            batch_size_of(counts, self.n_components, self.batch_size) if incremental else None
        )
        first_doc_topic, first_topic_word = given or (None, None)
        blocks, rows = Documents.blocks(counts, sample_weight, batch_size, first_doc_topic)

        start = starts(
            X.shape[1], self.n_components, X.dtype, random_state, first_topic_word, vocabulary
        )
        beta = 1.0 if held is not None else float(self.beta)
        model = self._model(n_threads, beta, vocabulary)
        annealing = None
        if held is not None:
            unseen = [Documents(held[some]) for some in rows]
            annealing = Annealing(model, partial(model.score, unseen=unseen))
        result = self._fit_em(
            model, blocks, start, schedule=self.algorithm, evaluate_every=self.evaluate_every,
            n_init=self.n_init, callbacks=() if annealing is None else (annealing,),
            X=X, sample_weight=sample_weight,
        )  # fmt: skip
        if annealing is not None and annealing.best_params is not None:
            self._set_fitted(self._attributes(annealing.best_params))
            self.validation_scores_ = annealing.scores
        return X, result

    def _attributes(self, params) -> dict[str, Any]:
        return {"components_": params.topic_word(), "beta_": params.beta}

    # ---- reading ---------------------------------------------------------------------------

    def _check_fitted(self):
        super()._check_fitted()
        totals = self.components_.sum(axis=1, dtype=np.float64)
        if np.any(abs(totals - 1) > 1e-3):
            topic = int(abs(totals - 1).argmax())
            raise ValueError(
                f"components_ of this fitted PLSA must have rows that sum to 1, got a sum of "
                f"{totals[topic]:.6g} for topic {topic}: fit again, or divide by the sums"
            )
        if not (isinstance(self.beta_, Real) and 0 < float(self.beta_) <= 1):
            raise ValueError(
                f"beta_ of this fitted PLSA must be a number in (0, 1], got {self.beta_!r}: fit "
                "again, or set the attribute"
            )

    def _fold_in(self, X):
        """Return padded p(z|d) and the log-likelihood of validated documents, topics fixed."""
        k = len(self.components_)
        n_threads = useful_n_jobs(self.n_jobs, 1.0 * self.max_doc_update_iter * X.nnz * k)
        X, rows = of_occurring(X, self.components_, n_threads)
        documents = Documents(X)
        topics = Topics(rows, np.ones(k), 0.0)
        model = PLSAEM(k, self.doc_topic_prior, 0.0, n_threads, self.beta_)
        doc_topic = model.fold_in(topics, documents, self.max_doc_update_iter, float(self.doc_tol))
        return doc_topic, log_likelihood(topics, documents, doc_topic, model.n_threads)

    @by_blocks
    def transform(self, X: MatrixLike) -> np.ndarray:
        """Return the topic probabilities of documents, topics held fixed (fold-in).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts.

        Returns
        -------
        doc_topic : ndarray of shape (n_samples, n_components)
            p(z|d); rows sum to 1. A document without words has equal probabilities.
        """
        self._once("checked", self._check_fitted)
        X = self._validated(X, "transform", reset=False)
        return self._fold_in(X)[0][:, : len(self.components_)].copy()

    def score(self, X: MatrixLike, y: Any = None) -> float:
        """Return the log-likelihood of documents after fold-in.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        log_likelihood : float
            Sum of n_dw log p(w|d), natural logarithm. Fold-in has seen the words that are scored.
        """
        self._check_fitted()
        parts = scores(self, _score_and_tokens, X, None)
        if parts is not None:
            return float(sum(score for score, _ in parts))
        return float(self._fold_in(self._validated(X, "score", reset=False))[1].sum())

    def perplexity(self, X: MatrixLike) -> float:
        """Return exp(-log-likelihood per token) after fold-in; lower is better.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts.

        Returns
        -------
        perplexity : float
            n_features if every word were as probable as every other.
        """
        self._check_fitted()
        parts = scores(self, _score_and_tokens, X, None)
        if parts is not None:
            score, total = np.sum(parts, axis=0)
            check_tokens(total, "X", "perplexity")
            return float(np.exp(-score / total))
        X = self._validated(X, "perplexity", reset=False)
        total = X.data.sum(dtype=np.float64)
        check_tokens(total, "X", "perplexity")
        return float(np.exp(-self._fold_in(X)[1].sum() / total))


def _score_and_tokens(estimator, X, _):
    """Return the log-likelihood of one block of documents, and its number of tokens."""
    X = estimator._validated(X, "score", reset=False)
    return float(estimator._fold_in(X)[1].sum()), float(X.data.sum(dtype=np.float64))
