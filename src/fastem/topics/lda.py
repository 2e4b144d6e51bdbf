"""Latent Dirichlet allocation by variational Bayes over sparse counts."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state

from fastem import em
from fastem._base import EMEstimator, check_sample_weight, unchanged_on_error
from fastem._compat import Interval, StrOptions, fit_context
from fastem._data.sources import source_of
from fastem._engine.threads import effective_n_jobs
from fastem._typing import CheckpointLike, MatrixLike, RandomStateLike
from fastem.topics.by_blocks import lda_blocks
from fastem.topics.dirichlet import (
    check_components_init,
    check_doc_topic_prior,
    check_topic_word_prior,
)
from fastem.topics.documents import check_total
from fastem.topics.gammas import advance, fill_gammas, stream_of
from fastem.topics.methods import METHODS, in_batches
from fastem.topics.reading import LDAReading
from fastem.topics.variational import LDAEM, Progress, expected_components

__all__ = ["LatentDirichletAllocation"]


class LatentDirichletAllocation(LDAReading, EMEstimator):
    r"""Latent Dirichlet allocation with variational Bayes (Blei et al. 2003, Hoffman et al. 2010).

    A document's topics have a Dirichlet distribution, and so have a topic's words. The E-step of a
    document repeats, with :math:`\lambda` the topics' parameters and n the counts,

    .. math::
        q_{dwk} \propto \exp \, \mathrm{E}[\log \beta_{kw}] \; \exp \, \psi(\gamma_{dk}), \qquad
        \gamma_{dk} = \alpha_k + \sum_w n_{dw} q_{dwk}

    and the M-step is :math:`\lambda_{kw} = \eta + \sum_d n_{dw} q_{dwk}` (Hoffman, Blei & Bach
    2010, *Online learning for latent Dirichlet allocation*, equations 4-6 and algorithm 2).
    Parameters, defaults and random numbers are those of scikit-learn's class; one thread or many
    give the same bits.

    Parameters
    ----------
    n_components : int, default=10
        Number of topics.
    doc_topic_prior : float, 'auto' or array-like of shape (n_components,), default=None
        Alpha, of a document's topics, above 0; None: 1 / n_components, or for 'stochastic' learned.
        'auto': one for each topic, learned (Minka 2000, *Estimating a Dirichlet distribution*)
        after each pass, or a bit at each online step, from 1 / n_components on and within [0.001,
        1000]; not for 'cvb0'. Passes over all documents begin with it when the topics differ and
        hardly change: before, it would keep them alike. That may take more than ten.
    topic_word_prior : float, 'auto' or array-like, default=None
        Eta, of a topic's words; None: 1 / n_components, or for 'stochastic' 0.05. 'auto': one
        number, learned too. An array, of shape (n_features,) or (n_components, n_features),
        guides the topics: a word with a prior of 10 in one topic and 0.01 in the others will mostly
        be there; all its values are above 0. 0: topics are point estimates, normalised counts, as
        in Blei, Ng & Jordan (2003, equation 9); the ELBO then has no part of the topics. 'cvb0' and
        'stochastic' take one number above 0.
    learning_method : {'batch', 'online', 'incremental', 'cvb0', 'stochastic'}, default='batch'
        'batch': an M-step after all documents; the ELBO falls only where documents find
        another optimum. 'online': a step towards the M-step of every `batch_size` documents.
        'incremental': an M-step after every `batch_size` documents, whose sums replace those of
        their last visit (Neal & Hinton 1998; Hughes & Sudderth 2013), and which after some visits
        go on from their last gamma: a good ELBO after two or three passes, at the price of keeping
        the sums. It may end above 'batch' or below it, mostly below for short documents; larger
        batches are safer.

        Two that do not maximise the ELBO, but find topics that predict words best, with `max_iter`
        of 30 to 60. 'cvb0', for documents of some hundred words: collapsed variational Bayes
        (Asuncion, Welling, Smyth & Teh 2009, *On smoothing and inference for topic models*); it
        keeps n_components numbers for every count that is not 0. 'stochastic', for documents of
        some ten words, and where that is too much memory: stochastic EM, which draws a topic for
        every word (Celeux & Diebolt 1985; Griffiths & Steyvers 2004), begun by 'cvb0' on a part of
        the documents, with the counts averaged over the last passes; it needs whole counts and
        takes no `sample_weight`. Both shuffle the documents, and begin with few of them.
    learning_decay : float, default=0.7
        Kappa: the online step is (learning_offset + number of the batch)^-kappa.
    learning_offset : float, default=10.0
        Tau_0: slows the first online steps.
    max_iter : int, default=10
        Number of passes over the documents.
    batch_size : int, default=128
        Documents in an online batch.
    evaluate_every : int, default=-1
        Computes the perplexity, and looks at `perp_tol`, after every so many passes; not positive:
        never.
    total_samples : int, default=1e6
        Number of documents of which `partial_fit` sees some.
    perp_tol : float, default=1e-1
        `fit` ends when the perplexity changes by less.
    mean_change_tol : float, default=1e-3
        A document is done when its gamma changes by less on average.
    max_doc_update_iter : int, default=100
        Largest number of updates of a document's gamma.
    n_jobs : int, default=None
        Number of threads; None and -1: all physical cores.
    verbose : int, default=0
        1 prints a line for each pass.
    random_state : int, RandomState instance or None, default=None
        Seed of the start.
    components_init : array-like of shape (n_components, n_features), default=None
        The first `components_`, all above 0, and nothing is random then, for documents begin with
        equal topics; None: random, plus an array's `topic_word_prior`.
    shuffle : bool, default=True
        Whether 'online' takes the documents in random order: a sorted corpus makes topics of the
        last documents. `partial_fit`, and scikit-learn, take them as they come.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Lambda, not normalised: what Dirichlet distribution a topic's words have; point estimates:
        the expected counts. To change it set another array: ``transform`` keeps the sums of its
        rows, and would not notice what is written into it.
    exp_dirichlet_component_ : ndarray of shape (n_components, n_features)
        Exponential of the expected logarithm of the words' probabilities; point estimates: these.
    n_batch_iter_ : int
        Number of M-steps, plus 1.
    n_iter_ : int
        Number of passes.
    bound_ : float
        Perplexity of the training documents after the last pass; 'incremental', 'cvb0' and
        'stochastic': ``exp(-lower_bound_)``.
    lower_bound_ : float
        The last ELBO per token that was computed in a pass, at the parameters before its M-step;
        'cvb0', 'stochastic': log-probability of a token, all others and their topics given.
    lower_bounds_ : list of float
        The same after every `evaluate_every` passes, or of the last pass alone.
    doc_topic_prior_ : float or ndarray of shape (n_components,), float64
        Alpha, as given or learned.
    topic_word_prior_ : float or ndarray, float64
        Eta, as given or learned; after 'stochastic' a fifth of it, which `components_` keep.
    random_state_ : RandomState instance
        What the random numbers came from.
    n_features_in_ : int
        Number of words.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the words, if X had names that are all strings.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import LatentDirichletAllocation
    >>> X = np.array([[3, 2, 0, 0], [2, 3, 0, 0], [0, 0, 4, 1], [0, 0, 1, 4]])
    >>> lda = LatentDirichletAllocation(2, random_state=0).fit(X)
    >>> lda.transform(X).argmax(axis=1).tolist()
    [0, 0, 1, 1]
    """

    exp_dirichlet_component_: np.ndarray
    n_batch_iter_: int
    bound_: float
    doc_topic_prior_: float | np.ndarray
    topic_word_prior_: float | np.ndarray
    random_state_: np.random.RandomState

    n_iter_: int
    _parameter_constraints: ClassVar[dict] = {
        "n_components": [Interval(Integral, 0, None, closed="neither")],
        "doc_topic_prior": [
            None,
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"auto"}),
            "array-like",
        ],
        "topic_word_prior": [
            None,
            Interval(Real, 0, None, closed="left"),
            StrOptions({"auto"}),
            "array-like",
        ],
        "learning_method": [StrOptions({*METHODS})],
        "learning_decay": [Interval(Real, 0, 1, closed="both")],
        "learning_offset": [Interval(Real, 1.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 0, None, closed="neither")],
        "evaluate_every": [Interval(Integral, None, None, closed="neither")],
        "total_samples": [Interval(Real, 0, None, closed="neither")],
        "perp_tol": [Interval(Real, 0, None, closed="left")],
        "mean_change_tol": [Interval(Real, 0, None, closed="left")],
        "max_doc_update_iter": [Interval(Integral, 0, None, closed="left")],
        "n_jobs": [None, Integral],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
        "components_init": [None, "array-like"],
        "shuffle": ["boolean"],
    }

    def __init__(
        self,
        n_components: int = 10,
        *,
        doc_topic_prior: npt.ArrayLike | None = None,
        topic_word_prior: npt.ArrayLike | None = None,
        learning_method: str = "batch",
        learning_decay: float = 0.7,
        learning_offset: float = 10.0,
        max_iter: int = 10,
        batch_size: int = 128,
        evaluate_every: int = -1,
        total_samples: float = 1e6,
        perp_tol: float = 1e-1,
        mean_change_tol: float = 1e-3,
        max_doc_update_iter: int = 100,
        n_jobs: int | None = None,
        verbose: int = 0,
        random_state: RandomStateLike = None,
        components_init: npt.ArrayLike | None = None,
        shuffle: bool = True,
    ) -> None:
        self.n_components = n_components
        self.doc_topic_prior = doc_topic_prior
        self.topic_word_prior = topic_word_prior
        self.learning_method = learning_method
        self.learning_decay = learning_decay
        self.learning_offset = learning_offset
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.evaluate_every = evaluate_every
        self.total_samples = total_samples
        self.perp_tol = perp_tol
        self.mean_change_tol = mean_change_tol
        self.max_doc_update_iter = max_doc_update_iter
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.random_state = random_state
        self.components_init = components_init
        self.shuffle = shuffle

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32", "float64"]
        return tags

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
            Non-negative counts of words (columns) in documents (rows). :class:`fastem.Blocks` are
            read again in each pass; 'online' then shuffles within each block, and 'incremental'
            takes blocks for batches and keeps every document's gamma.
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
            If an argument is invalid.
        """
        with unchanged_on_error(self):
            self._open_checkpoint(checkpoint, X, sample_weight=sample_weight)
            method, executor = METHODS[self.learning_method], None
            source = source_of(self, X, sample_weight)
            if source is not None:
                X, executor = None, source.executor
                model, blocks, start, perplexity = lda_blocks(self, source, method)
            else:
                X = self._validated(X, "fit", reset=True)
                sample_weight = check_sample_weight(sample_weight, X)
                if sample_weight is not None:
                    check_total(X, sample_weight)
                self._begin(X.shape[1], X.dtype)
                model, blocks, start = method.prepare(self, X, sample_weight)
                perplexity = partial(self._perplexity, X, sample_weight)
            del self.components_  # topics are large, and few should be there
            evaluate = self.evaluate_every > 0
            monitor = _Perplexity(self, perplexity)
            self.bound_ = np.nan  # what an interrupt leaves
            try:
                n_iter = self._fit_em(
                    model,
                    blocks,
                    start,
                    schedule=method.schedule,
                    evaluate_every=self.evaluate_every if evaluate else max(1, self.max_iter),
                    tol=0.0,
                    verbose=0,
                    callbacks=(monitor,),
                    executor=executor,
                    X=X,
                    sample_weight=sample_weight,
                ).n_iter
            finally:  # of an interrupted fit too: partial_fit goes on from here
                monitor.advance()
                steps = 1 if method.schedule == "batch" else len(blocks)  # of a pass
                self.n_batch_iter_ = 1 + self.n_iter_ * steps
            self.n_iter_ = n_iter - monitor.stopped  # the last pass is not counted there
            if method.bound_of_passes and self.max_iter > 0:
                self.bound_ = float(np.exp(-self.lower_bound_))
            else:
                self.bound_ = perplexity()
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: MatrixLike, y: Any = None) -> Self:
        """Take online steps with some documents.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts of some of `total_samples` documents.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        self : object
            The model after the steps.
        """
        with unchanged_on_error(self):
            first = not hasattr(self, "components_")
            if not first:
                self._check_fitted()
            dtype = None if first else self.components_.dtype
            X = self._validated(X, "partial_fit", reset=first, dtype=dtype)
            if first:
                self._begin(X.shape[1], X.dtype)
            model, topics = self._model(n_samples=self.total_samples), self._first_topics(X.dtype)
            for block in in_batches(X, None, self.batch_size):
                topics = model.step(topics, model.e_step(topics, block, bound=False), block)
            self._set_fitted(self._attributes(topics))
            self.n_batch_iter_ = topics.progress.n_steps
            advance(self.random_state_, topics.progress.stream)
        return self

    def _begin(self, n_features, dtype):
        """Set priors and first topics, with scikit-learn's random numbers."""
        self.random_state_ = check_random_state(self.random_state)
        self.n_batch_iter_, self.n_iter_, k = 1, 0, self.n_components
        self.topic_word_prior_ = check_topic_word_prior(self.topic_word_prior, k, n_features)
        self.doc_topic_prior_ = check_doc_topic_prior(self.doc_topic_prior, k)
        if self.components_init is None:
            components = np.empty((k, n_features))
            fill_gammas(self.random_state_, components)
            if np.ndim(self.topic_word_prior_):
                components += self.topic_word_prior_  # guided from the first E-step on
        else:
            components = check_components_init(self.components_init, k, n_features)
        self.components_ = components.astype(dtype, copy=False)

    def _first_topics(self, dtype, random=True, vocabulary=None):
        """Return components_ as the parameters that a fit goes on from.

        The documents' first gammas are random, unless nothing is to be.
        """
        stream = None
        if random and self.components_init is None:
            stream = stream_of(self.random_state_)
        model = self._model()
        priors = model.priors if model.learn_doc_topic or model.learn_topic_word else None
        progress = Progress(priors, self.n_batch_iter_, stream=stream)
        return self._topics(dtype, vocabulary)._replace(progress=progress)

    def _model(self, cls=LDAEM, n_samples=1, vocabulary=None, n_threads=None):
        return cls(
            np.broadcast_to(self.doc_topic_prior_, len(self.components_)),
            self.topic_word_prior_,
            n_threads or effective_n_jobs(self.n_jobs),
            max_sweeps=self.max_doc_update_iter,
            tol=self.mean_change_tol,
            learning_offset=self.learning_offset,
            learning_decay=self.learning_decay,
            n_samples=n_samples,
            learn_doc_topic=isinstance(self.doc_topic_prior, str),
            learn_topic_word=isinstance(self.topic_word_prior, str),
            vocabulary=vocabulary,
        )

    def _attributes(self, params) -> dict[str, Any]:
        learned = getattr(params, "priors", None)
        priors = {}
        if isinstance(self.doc_topic_prior, str) and learned is not None:
            priors["doc_topic_prior_"] = learned.doc_topic
        if isinstance(self.topic_word_prior, str) and learned is not None:
            priors["topic_word_prior_"] = learned.topic_word
        point = self._has_point_topics
        components = params.components()
        if not point:  # an eta too small for float32 is not 0, whose logarithm is infinite
            np.maximum(components, np.finfo(components.dtype).tiny, out=components)
        expected = expected_components(params, components, effective_n_jobs(self.n_jobs), point)
        return {
            "components_": components,
            "exp_dirichlet_component_": expected,
            **priors,
            **getattr(params, "learned", {}),
        }


class _Perplexity(em.Callback):
    """Prints scikit-learn's lines; stops when the training perplexity hardly changes."""

    def __init__(self, estimator, perplexity):
        self.estimator, self.perplexity = estimator, perplexity
        self.last, self.stopped, self.stream = None, 0, None

    def get_state(self):
        self.advance()
        return [self.last, self.stopped, self.estimator.random_state_.get_state(legacy=False)]

    def set_state(self, state):
        self.last, self.stopped, numbers = state
        self.estimator.random_state_.set_state(numbers)

    def advance(self):
        """Skip the numbers that were drawn: it costs more than a small pass."""
        advance(self.estimator.random_state_, self.stream)

    def on_iteration_end(self, state):
        estimator, line = self.estimator, f"iteration: {state.iteration} of max_iter: "
        line += f"{self.estimator.max_iter}"
        progress = getattr(state.params, "progress", None)
        if progress is not None:
            self.stream = progress.stream
        if estimator.evaluate_every > 0 and state.iteration % estimator.evaluate_every == 0:
            self.advance()
            estimator._set_fitted(estimator._attributes(state.params))
            perplexity = self.perplexity()
            line += f", perplexity: {perplexity:.4f}"
            if self.last is not None and abs(self.last - perplexity) < estimator.perp_tol:
                self.stopped = 1
            self.last = perplexity
        if estimator.verbose:
            print(line)
        return bool(self.stopped)
