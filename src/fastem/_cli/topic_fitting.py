"""Fits a topic model, with a progress bar, and measures it on words that it has not seen."""

import math
import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from fastem import PLSA, GaussianLDA, LatentDirichletAllocation, em
from fastem._cli import CommandError
from fastem._cli.fitting import ProgressBar
from fastem._engine.threads import effective_n_jobs
from fastem.topics.documents import Documents, Topics, log_likelihood, padded, with_counts


class TopicKind(NamedTuple):
    """What the command offers of one topic model; the first algorithm is the default.

    Attributes
    ----------
    estimator : type
    algorithms : tuple of str
    parameter : str or None
        The estimator's parameter that the algorithm is a value of.
    max_iter : int
        Default number of iterations.
    settings : callable
        Further parameters, from the command's options.
    """

    estimator: Any
    algorithms: tuple[str, ...]
    parameter: str | None
    max_iter: int
    settings: Callable[[Any], dict[str, Any]]


#: The topic models by name.
MODELS = {
    "plsa": TopicKind(
        PLSA,
        ("batch", "incremental"),
        "algorithm",
        200,
        lambda args: {"tol": args.tol, "topic_word_prior": args.topic_word_prior},
    ),
    "lda": TopicKind(
        LatentDirichletAllocation,
        ("cvb0", "stochastic", "batch", "incremental"),
        "learning_method",
        50,
        # It then stops when the perplexity hardly changes.
        lambda args: {"evaluate_every": 5, "topic_word_prior": args.topic_word_prior},
    ),
    "gaussian-lda": TopicKind(
        GaussianLDA,
        ("batch",),
        None,
        200,
        lambda args: {"tol": args.tol, "smoothing": args.topic_word_prior},
    ),
}
#: Fewer documents are too few to hold some out.
FEWEST_DOCUMENTS = 10
#: Stands in for the probability of a word that no topic has; a prior leaves none such.
_FLOOR = 1e-12


class TopicFit(NamedTuple):
    """A fitted topic model, its topics by falling share, and what the fit was worth.

    Attributes
    ----------
    model : estimator
        Fitted to the documents that were not held out; its topics are in an order of its own.
    order : ndarray of shape (n_topics,)
        The numbers that the topics have in the model.
    topic_word : ndarray of shape (n_topics, n_words)
        p(w|z).
    doc_topic : ndarray of shape (n_documents, n_topics)
        p(z|d) of all documents, by `transform`.
    shares : ndarray of shape (n_topics,)
        Each topic's part of all words.
    coherence : ndarray of shape (n_topics,)
        UMass coherence; nan where it is not defined.
    perplexity, baseline : float
        On held-out words: of the model, and of the words' frequencies alone; nan if not measured.
    n_held_out : int
        Number of documents held out.
    n_scored : int
        Number of words that the perplexity is of.
    seconds : float
        Wall time of the fit.
    """

    model: Any
    order: np.ndarray
    topic_word: np.ndarray
    doc_topic: np.ndarray
    shares: np.ndarray
    coherence: np.ndarray
    perplexity: float
    baseline: float
    n_held_out: int
    n_scored: int
    seconds: float

    def top_words(self, vocabulary, n):
        """Return the n most probable words of each topic."""
        words = self.model.top_words(vocabulary, n)
        return [words[k] for k in self.order]


def fit_topics(X, n_components, *, model="plsa", held_out=0.1, smoothing=0.0, **settings):
    """Fit topics to most documents of X and measure them on the others.

    Parameters
    ----------
    X : csr_array of shape (n_documents, n_words)
    n_components : int
    model : str, default='plsa'
        One of `MODELS`.
    held_out : float, default=0.1
        The part of the documents that is kept from the fit; 0 for none.
    smoothing : float, default=0.0
        Added to the expected counts of a model whose topics are not probabilities of words.
    **settings
        Parameters of the model; the seed ``random_state`` also draws what is held out.
    """
    train, unseen = hold_out(X, held_out, settings["random_state"])
    model = MODELS[model].estimator(n_components, **settings)
    start = perf_counter()
    with ProgressBar(1, model.max_iter) as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the report says it
        progress.announce(f"{n_components} topics")
        with em.watch(progress):
            model.fit(train)
    elapsed = perf_counter() - start
    doc_topic = model.transform(X)
    shares = X.sum(axis=1, dtype=np.float64) @ doc_topic
    shares /= shares.sum()
    # Topic 0 is the largest, on the screen as in the files.
    order = np.argsort(-shares, kind="stable")
    counts = model.components_ + model.components_.dtype.type(smoothing)
    topic_word = counts / counts.sum(axis=1, keepdims=True)
    perplexity = baseline = math.nan
    n_scored = 0
    if unseen is not None:
        observed, scored = unseen
        n_scored = int(scored.data.sum(dtype=np.float64))
        if n_scored:
            perplexity = held_out_perplexity(model.transform(observed), topic_word, scored)
            baseline = _baseline(train, scored)
    return TopicFit(
        model,
        order,
        topic_word[order],
        doc_topic[:, order],
        shares[order],
        model.coherence(train)[order],
        perplexity,
        baseline,
        X.shape[0] - train.shape[0],
        n_scored,
        elapsed,
    )


def best_of(fits, title):
    """Return the fit of the lowest perplexity."""
    if len(fits) == 1:
        return fits[0]
    if any(math.isnan(fit.perplexity) for fit in fits):
        raise CommandError(
            f"{title}: several -k are compared by held-out documents, and there are too few: give "
            "one number, or raise --held-out"
        )
    return min(fits, key=lambda fit: fit.perplexity)


def hold_out(X, part, seed):
    """Split documents; return those to fit, and two halves of the others (None if there are none).

    A fair coin for each word of a held-out document says which half it belongs to.
    """
    n_documents = X.shape[0]
    if part == 0 or n_documents < FEWEST_DOCUMENTS:
        return X, None
    random = np.random.default_rng(seed)
    fitted = np.ones(n_documents, dtype=bool)
    fitted[random.choice(n_documents, max(1, round(part * n_documents)), replace=False)] = False
    train, others = X[fitted], X[~fitted]
    if not train.data.any():
        return X, None
    whole = np.floor(others.data)
    observed = random.binomial(whole.astype(np.int64), 0.5)
    # What is left of a count that is no integer goes to one side in one piece.
    observed = observed + (others.data - whole) * random.integers(0, 2, size=len(whole))
    halves = (observed, others.data - observed)
    return train, tuple(with_counts(others, half.astype(X.dtype)) for half in halves)


def held_out_perplexity(doc_topic, topic_word, scored):
    """Return exp(-mean log p(w|d)) of the words in `scored`."""
    k, dtype = len(topic_word), np.float64
    # A word that no topic has is nearly impossible, and not quite.
    topics = Topics(padded(np.maximum(topic_word, _FLOOR).T, k, dtype), np.ones(k), 0.0)
    documents = Documents(sp.csr_array(scored).astype(dtype))
    n_threads = effective_n_jobs(None)
    total = log_likelihood(topics, documents, padded(doc_topic, k, dtype), n_threads).sum()
    return math.exp(-total / scored.data.sum(dtype=np.float64))


def _baseline(train, scored):
    """Return the perplexity of `scored` if every document had the words' mean frequencies."""
    frequency = train.sum(axis=0, dtype=np.float64) + 0.5  # none is 0
    counts = scored.sum(axis=0, dtype=np.float64)
    return math.exp(-float(counts @ np.log(frequency / frequency.sum())) / counts.sum())


def mean_coherence(fit):
    """Return the mean of the topics' coherences that are defined, or None."""
    defined = fit.coherence[np.isfinite(fit.coherence)]
    return float(defined.mean()) if len(defined) else None


def finite(value):
    """Return a number as a float, or None for nan, which JSON does not have."""
    return float(value) if math.isfinite(value) else None
