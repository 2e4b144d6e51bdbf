"""Latent Dirichlet allocation by variational Bayes over sparse counts."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils import check_array, check_random_state, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from fastem import em
from fastem._estimator import EMEstimator, check_sample_weight, unchanged_on_error
from fastem._kernels import topics as kernel
from fastem._lda import LDAEM, expected_topics
from fastem._threads import effective_n_jobs
from fastem._topics import Documents, TopicModel, Topics, padded

__all__ = ["LatentDirichletAllocation"]


class LatentDirichletAllocation(TopicModel, EMEstimator):
    r"""Latent Dirichlet allocation with variational Bayes (Blei et al. 2003, Hoffman et al. 2010).

    A document's topics have a Dirichlet distribution, and so have a topic's words. The E-step of a
    document repeats, with :math:`\lambda` the topics' parameters and n the counts,

    .. math::
        q_{dwk} \propto \exp \mathrm{E}[\log \beta_{kw}] \, \exp \psi(\gamma_{dk}), \qquad
        \gamma_{dk} = \alpha_k + \sum_w n_{dw} q_{dwk}

    and the M-step is :math:`\lambda_{kw} = \eta + \sum_d n_{dw} q_{dwk}` (Hoffman, Blei & Bach
    2010, *Online learning for latent Dirichlet allocation*, equations 4-6 and algorithm 2).
    Parameters, defaults and random numbers are those of scikit-learn's class; one thread or many
    give the same bits.

    Parameters
    ----------
    n_components : int, default=10
        Number of topics.
    doc_topic_prior : float or array-like of shape (n_components,), default=None
        Alpha, of a document's topics; None: 1 / n_components.
    topic_word_prior : float, default=None
        Eta, of a topic's words; None: 1 / n_components.
    learning_method : {'batch', 'online', 'incremental'}, default='batch'
        'batch': an M-step after all documents; the ELBO does not fall. 'online': a step towards
        the M-step of every `batch_size` documents, in the order in which they come. 'incremental':
        an M-step after every `batch_size` documents, whose sums replace those of their last visit
        (Neal & Hinton 1998; Hughes & Sudderth 2013), and which after some visits go on from their
        last gamma: a good ELBO after two or three passes, at the price of keeping the sums. It may
        end above 'batch' or below it, mostly below for short documents; larger batches are safer.
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
        The first `components_`, all above 0; None: random.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Lambda, not normalised: what Dirichlet distribution a topic's words have.
    exp_dirichlet_component_ : ndarray of shape (n_components, n_features)
        Exponential of the expected logarithm of the words' probabilities.
    n_batch_iter_ : int
        Number of M-steps, plus 1.
    n_iter_ : int
        Number of passes.
    bound_ : float
        Perplexity of the training documents after the last pass; incremental: as it saw them.
    lower_bound_ : float
        The last ELBO per token that was computed in a pass, at the parameters before its M-step.
    lower_bounds_ : list of float
        The same after every `evaluate_every` passes, or of the last pass alone.
    doc_topic_prior_ : float or ndarray of shape (n_components,)
        Alpha.
    topic_word_prior_ : float
        Eta.
    random_state_ : RandomState instance
        What the random numbers came from.
    n_features_in_ : int
        Number of words.
    feature_names_in_ : ndarray of shape (n_features_in_,)
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

    n_iter_: int
    _parameter_constraints: ClassVar[dict] = {
        "n_components": [Interval(Integral, 0, None, closed="neither")],
        "doc_topic_prior": [None, Interval(Real, 0, None, closed="neither"), "array-like"],
        "topic_word_prior": [None, Interval(Real, 0, None, closed="neither")],
        "learning_method": [StrOptions({"batch", "online", "incremental"})],
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
    }

    def __init__(
        self,
        n_components=10,
        *,
        doc_topic_prior=None,
        topic_word_prior=None,
        learning_method="batch",
        learning_decay=0.7,
        learning_offset=10.0,
        max_iter=10,
        batch_size=128,
        evaluate_every=-1,
        total_samples=1e6,
        perp_tol=1e-1,
        mean_change_tol=1e-3,
        max_doc_update_iter=100,
        n_jobs=None,
        verbose=0,
        random_state=None,
        components_init=None,
    ):
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

    # ---- fitting ---------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Fit the topics.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Non-negative counts of words (columns) in documents (rows).
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights: a document of weight 2 counts as two equal documents.

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
            X = self._validated(X, reset=True)
            sample_weight = check_sample_weight(sample_weight, X)
            method = self.learning_method
            if method == "online":
                rows = list(gen_batches(X.shape[0], self.batch_size))
                weights = [None if sample_weight is None else sample_weight[some] for some in rows]
                blocks = [Documents(X[some], w) for some, w in zip(rows, weights, strict=True)]
            else:
                blocks, _ = Documents.blocks(
                    X, sample_weight, self.batch_size if method == "incremental" else None
                )
            self._begin(X.shape[1], X.dtype)
            incremental = method == "incremental"
            model = self._model(n_samples=X.shape[0], incremental=incremental)
            evaluate = self.evaluate_every > 0
            monitor = _Perplexity(self, X, sample_weight)
            self.bound_ = np.nan  # what an interrupt leaves
            try:
                result = self._fit_em(
                    model,
                    blocks,
                    self._topics(X.dtype),
                    schedule="stepwise" if method == "online" else method,
                    check_every=self.evaluate_every if evaluate else max(1, self.max_iter),
                    tol=0.0,
                    verbose=0,
                    callbacks=(monitor,),
                    X=X,
                    sample_weight=sample_weight,
                )
            finally:  # of an interrupted fit too: partial_fit goes on from here
                self.n_batch_iter_ = 1 + self.n_iter_ * len(blocks)
            self.n_iter_ = result.n_iter - monitor.stopped  # the last pass is not counted there
            if incremental and self.max_iter > 0:
                self.bound_ = float(np.exp(-self.lower_bound_))
            else:
                self.bound_ = self._perplexity(X, sample_weight)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
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
            X = self._validated(X, reset=first, dtype=None if first else self.components_.dtype)
            if first:
                self._begin(X.shape[1], X.dtype)
            model, topics = self._model(self.total_samples), self._topics(X.dtype)
            for some in gen_batches(X.shape[0], self.batch_size):
                block = Documents(X[some])
                topics = model.step(topics, model.e_step(topics, block, bound=False), block)
            self._set_fitted(self._attributes(topics))
            self.n_batch_iter_ = model.n_steps
        return self

    def _begin(self, n_features, dtype):
        """Set priors and first topics, with scikit-learn's random numbers."""
        self.random_state_ = check_random_state(self.random_state)
        self.n_batch_iter_, self.n_iter_, k = 1, 0, self.n_components
        self.topic_word_prior_ = 1.0 / k if self.topic_word_prior is None else self.topic_word_prior
        self.doc_topic_prior_ = 1.0 / k if self.doc_topic_prior is None else self.doc_topic_prior
        if not isinstance(self.doc_topic_prior_, Real):
            prior = check_array(
                self.doc_topic_prior_,
                ensure_2d=False,
                dtype=np.float64,
                input_name="doc_topic_prior",
            )
            if prior.shape != (k,) or not np.all(prior > 0):
                raise ValueError(
                    f"doc_topic_prior must be a number or {k} numbers, one for each topic, above "
                    f"0, got shape {prior.shape} and smallest value {prior.min():.3g}"
                )
            self.doc_topic_prior_ = prior
        if self.components_init is None:
            components = self.random_state_.gamma(100.0, 0.01, (k, n_features))
        else:
            components = check_array(
                self.components_init, dtype=np.float64, input_name="components_init"
            )
            if components.shape != (k, n_features) or not np.all(components > 0):
                raise ValueError(
                    f"components_init must have shape {(k, n_features)} and only values above 0, "
                    f"got shape {components.shape} and smallest value {components.min():.3g}"
                )
        self.components_ = components.astype(dtype, copy=False)

    def _topics(self, dtype):
        """Return components_ as parameters."""
        totals = self.components_.sum(axis=1, dtype=np.float64)
        return Topics(padded(self.components_.T, len(self.components_), dtype), totals, 0.0)

    def _model(self, n_samples=1, random=True, incremental=False):
        return LDAEM(
            np.broadcast_to(self.doc_topic_prior_, len(self.components_)),
            self.topic_word_prior_,
            effective_n_jobs(self.n_jobs),
            max_sweeps=self.max_doc_update_iter,
            tol=self.mean_change_tol,
            random_state=self.random_state_ if random else None,
            step_size=lambda t: (self.learning_offset + t) ** -self.learning_decay,
            n_steps=self.n_batch_iter_,
            n_samples=n_samples,
            incremental=incremental,
        )

    def _attributes(self, params) -> dict[str, Any]:
        k = len(params.totals)
        expected, scale = expected_topics(params, effective_n_jobs(self.n_jobs))
        return {
            "components_": params.components(),
            "exp_dirichlet_component_": np.ascontiguousarray((expected * scale)[:, :k].T),
        }

    # ---- reading ---------------------------------------------------------------------------

    def _documents(self, X, sample_weight=None):
        """Return (model, topics, documents) after the E-step of validated documents."""
        model, topics = self._model(random=False), self._topics(X.dtype)
        documents = Documents(X, sample_weight)
        model.infer(topics, documents, None)
        return model, topics, documents

    def transform(self, X, *, normalize=True):
        """Return the documents' topics, topics held fixed.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts.
        normalize : bool, default=True
            Whether rows sum to 1: the expected topics; else they are gamma.

        Returns
        -------
        doc_topic : ndarray of shape (n_samples, n_components)
            The documents' topics.
        """
        check_is_fitted(self)
        X = self._validated(X, reset=False, dtype=self.components_.dtype)
        doc_topic = self._documents(X)[2].doc_topic[:, : len(self.components_)].copy()
        if normalize:
            doc_topic /= doc_topic.sum(axis=1, keepdims=True)
        return doc_topic

    def fit_transform(self, X, y=None, sample_weight=None, *, normalize=True):
        """Fit the topics and return the documents' topics.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.
        normalize : bool, default=True
            As in :meth:`transform`.

        Returns
        -------
        doc_topic : ndarray of shape (n_samples, n_components)
            The documents' topics.
        """
        return self.fit(X, y, sample_weight).transform(X, normalize=normalize)

    def score(self, X, y=None):
        """Return the evidence lower bound (ELBO) of documents, topics and priors.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        elbo : float
            Lower bound of the log-likelihood, with the topics' own divergence from their prior.
        """
        check_is_fitted(self)
        return self._elbo(self._validated(X, reset=False, dtype=self.components_.dtype))

    def perplexity(self, X, sub_sampling=False):
        """Return exp(-ELBO per token): scikit-learn's figure, not the perplexity of held-out words.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts.
        sub_sampling : bool, default=False
            Whether X stands for `total_samples` documents.

        Returns
        -------
        perplexity : float
            Lower is better.
        """
        check_is_fitted(self)
        X = self._validated(X, reset=False, dtype=self.components_.dtype)
        return self._perplexity(X, None, self.total_samples / X.shape[0] if sub_sampling else 1.0)

    def _elbo(self, X, sample_weight=None, ratio=1.0):
        model, topics, documents = self._documents(X, sample_weight)
        return ratio * model.bound(topics, documents) + model.log_prior(topics)

    def _perplexity(self, X, sample_weight=None, ratio=1.0):
        weights = np.ones(X.shape[0]) if sample_weight is None else sample_weight
        n_tokens = float(weights @ X.sum(axis=1, dtype=np.float64))
        if n_tokens == 0:
            return np.nan  # the perplexity of no words is not defined
        return float(np.exp(-self._elbo(X, sample_weight, ratio) / (ratio * n_tokens)))

    def _perplexity_precomp_distr(self, X, doc_topic_distr=None, sub_sampling=False):
        """Return the perplexity at given gammas: scikit-learn's own tests reach for it."""
        X = self._validated(X, reset=False, dtype=self.components_.dtype)
        ratio = self.total_samples / X.shape[0] if sub_sampling else 1.0
        if doc_topic_distr is None:
            return self._perplexity(X, None, ratio)
        if len(doc_topic_distr) != X.shape[0]:
            raise ValueError("Number of samples in X and doc_topic_distr do not match.")
        if doc_topic_distr.shape[1] != self.n_components:
            raise ValueError("Number of topics does not match.")
        model, topics = self._model(random=False), self._topics(X.dtype)
        model.max_sweeps = 0
        documents = Documents(X)
        model.infer(topics, documents, None, first=doc_topic_distr)
        elbo = ratio * model.bound(topics, documents) + model.log_prior(topics)
        return float(np.exp(-elbo / (ratio * documents.total_weight)))

    def held_out_log_likelihood(self, X_observed, X_held):
        """Return the mean log-probability of words that inference has not seen.

        Parameters
        ----------
        X_observed : {array-like, sparse matrix} of shape (n_samples, n_features)
            A part of each document's words, from which its topics are inferred.
        X_held : {array-like, sparse matrix} of shape (n_samples, n_features)
            The other part, which is scored.

        Returns
        -------
        log_likelihood : float
            Natural logarithm, per token of X_held (document completion; Wallach et al. 2009,
            *Evaluation methods for topic models*, section 5.1); larger is better.
        """
        doc_topic = self.transform(X_observed)
        X = self._validated(X_held, reset=False, dtype=self.components_.dtype)
        if X.shape[0] != len(doc_topic):
            raise ValueError(
                f"X_held has {X.shape[0]} documents, but X_observed has {len(doc_topic)}: they "
                "must be parts of the same documents"
            )
        topics, k = self._topics(X.dtype), len(self.components_)
        documents = Documents(X)
        documents.set_topics(padded(doc_topic, k, X.dtype))
        log_likelihood = np.empty(X.shape[0])
        kernel.documents(
            documents.counts, documents.doc_topic, topics.sums, topics.scale, None, log_likelihood,
            k, 0.0, 0.0, effective_n_jobs(self.n_jobs),
        )  # fmt: skip
        return float(log_likelihood.sum() / X.sum(dtype=np.float64))


class _Perplexity(em.Callback):
    """Prints scikit-learn's lines; stops when the training perplexity hardly changes."""

    def __init__(self, estimator, X, sample_weight):
        self.estimator, self.data = estimator, (X, sample_weight)
        self.last, self.stopped = None, 0

    def on_iteration_end(self, state):
        estimator, line = self.estimator, f"iteration: {state.iteration} of max_iter: "
        line += f"{self.estimator.max_iter}"
        if estimator.evaluate_every > 0 and state.iteration % estimator.evaluate_every == 0:
            estimator.components_ = state.params.components()
            perplexity = estimator._perplexity(*self.data)
            line += f", perplexity: {perplexity:.4f}"
            if self.last is not None and abs(self.last - perplexity) < estimator.perp_tol:
                self.stopped = 1
            self.last = perplexity
        if estimator.verbose:
            print(line)
        return bool(self.stopped)
