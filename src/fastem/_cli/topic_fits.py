"""Topic models that are fitted, measured on words that they have not seen, and shown."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from fastem._cli import CommandError, count, one_line
from fastem._cli.cluster_report import bound_lines, general_pictures
from fastem._cli.models import MODELS
from fastem._cli.screen import figure, seconds, sparkline, wrapped
from fastem.select.documents import divided, held_out_log_likelihood
from fastem.select.result import chosen

#: Fewer documents are too few to hold some out.
FEWEST_DOCUMENTS = 10
_MOST_DRAWN = 40  # topics in a picture
#: Words in more than this part of the documents are left out. Docstrings share the names of their
#: sections and types, "returns" and "array", which would lead most topics.
_MAX_DF, _MAX_DF_DOCSTRINGS = 0.5, 0.1


class TopicFit(NamedTuple):
    """A fitted topic model, its topics by falling share, and what the fit was worth."""

    model: Any  # fitted to the documents not held out; its topics are in an order of its own
    order: Any  # the numbers that the topics have in the model
    topic_word: Any  # p(w|z)
    doc_topic: Any  # p(z|d) of all documents, by `transform`
    shares: Any  # each topic's part of all words
    coherences: Any  # the topics' UMass coherences, nan where they are not defined
    coherence: float  # their mean
    perplexity: float  # on held-out words; nan if not measured
    baseline: float  # the same, by the words' frequencies alone
    n_held_out: int  # documents
    n_scored: int  # words that the perplexity is of
    seconds: float

    def top_words(self, vocabulary, n):
        """Return the n most probable words of each topic."""
        words = self.model.top_words(vocabulary, n)
        return [words[k] for k in self.order]


def settings_of(args):
    """Return the estimator's parameters; refuse options that mean nothing to the model."""
    kind = MODELS[args.model]
    algorithm = args.algorithm or kind.algorithms[0]
    if algorithm not in kind.algorithms:
        known = ", ".join(kind.algorithms)
        raise CommandError(f"--algorithm {algorithm} is not one of {args.model}'s: take {known}")
    if (args.model == "gaussian-lda") != (args.vectors is not None):
        raise CommandError("--model gaussian-lda and --vectors FILE go together: give both")
    if args.compare and args.model == "gaussian-lda":
        raise CommandError("--compare is for --model plsa and lda; leave it out")
    if len(args.components) > 1 and not args.held_out:
        raise CommandError("several -k are compared by held-out documents: raise --held-out")
    settings = {
        "max_iter": args.max_iter or kind.max_iter, "doc_topic_prior": args.doc_topic_prior,
        "random_state": args.seed, "n_jobs": args.n_jobs,
    }  # fmt: skip
    if kind.algorithm is not None:
        settings[kind.algorithm] = algorithm
        settings["topic_word_prior"] = args.topic_word_prior
    if args.model == "lda":
        return settings | {"evaluate_every": 5}  # it then stops when the perplexity hardly changes
    return settings | {"tol": args.tol}


def read(args, progress=None):
    """Return the corpus's name, the corpus, and the words' vectors as a parameter, if any."""
    from fastem._cli.corpora import read_corpus, with_vectors
    from fastem._cli.texts import count_words

    if args.max_df is None:
        args.max_df = _MAX_DF_DOCSTRINGS if args.input is None else _MAX_DF
    if args.input is not None:
        title, corpus = args.input, read_corpus(args.input, args, progress)
    elif args.column is not None or args.vocab is not None:
        option = "--column" if args.column is not None else "--vocab"
        raise CommandError(f"{option} names columns of a file: give one")
    else:
        from fastem._cli.docstrings import describe, open_docstrings

        title = describe()
        corpus = count_words(title, open_docstrings(), args, progress)
    if args.vectors is None:
        return title, corpus, {}
    corpus, vectors = with_vectors(corpus, Path(args.vectors))
    return title, corpus, {"vectors": vectors}


def fit_all(title, X, args, settings, fitting):
    """Fit each number of topics, until Ctrl-C; return the fits."""
    fits = []
    try:
        parts = _parts(X, args)
        if len(args.components) > 1 and parts[1] is None:
            raise CommandError(
                f"{title}: several -k are compared by held-out words, and there are too few "
                "documents, or fractions of words: give one number"
            )
        for k in args.components:
            if fitting.interrupted:
                break
            fitting.what = f"{k} topics"
            model = MODELS[args.model].make(n_components=k, **settings)
            fits.append(_fit(model, X, parts, args))
    except ValueError as error:
        raise CommandError(f"{title}: {one_line(error)}") from error
    return fits


def _parts(X, args):
    """Return the documents to fit, and two halves of the words of the others, or None."""
    whole = not np.any(X.data != np.floor(X.data))
    if not args.held_out or X.shape[0] < FEWEST_DOCUMENTS or not whole:
        return X, None, None
    try:
        return divided(X, args.held_out, np.random.RandomState(args.seed))
    except ValueError:  # no words on one side
        return X, None, None


def _fit(model, X, parts, args):
    train, observed, held = parts
    begin = perf_counter()
    model.fit(train)
    took = perf_counter() - begin
    doc_topic = model.transform(X)
    shares = X.sum(axis=1, dtype=np.float64) @ doc_topic
    shares /= shares.sum() or 1.0
    order = np.argsort(-shares, kind="stable")  # topic 0 is the largest, everywhere
    # Gaussian topics have no prior: a word of no topic would be impossible.
    smoothing = args.topic_word_prior if hasattr(model, "means_") else 0
    counts = model.components_ + model.components_.dtype.type(smoothing)
    topic_word = counts / counts.sum(axis=1, keepdims=True)
    coherences = model.coherence(train)[order]
    finite = coherences[np.isfinite(coherences)]
    perplexity = baseline = math.nan
    if observed is not None:
        perplexity = math.exp(-held_out_log_likelihood(model, observed, held, topic_word))
        frequency = train.sum(axis=0, dtype=np.float64) + 0.5  # none is 0
        scored = held.sum(axis=0, dtype=np.float64)
        baseline = math.exp(-float(scored @ np.log(frequency / frequency.sum())) / scored.sum())
    return TopicFit(
        model, order, topic_word[order], doc_topic[:, order], shares[order], coherences,
        float(finite.mean()) if len(finite) else math.nan, perplexity, baseline,
        X.shape[0] - train.shape[0], 0 if held is None else int(held.sum(dtype=np.float64)), took,
    )  # fmt: skip


def selection_of(fits, criterion):
    """Return the choice among fits: the highest held-out log-likelihood, or coherence."""
    table = [
        {"n_components": len(fit.order), "held_out": -math.log(fit.perplexity),
         "coherence": fit.coherence, "converged": None, "error": None}
        for fit in fits
    ]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of an edge, which the report tells
        return chosen(criterion, table, ["n_components"], fits)


# ---- what is shown ------------------------------------------------------------------------------


def show_corpus(screen, title, corpus):
    """Say what was read."""
    n_documents, n_words = corpus.X.shape
    n_tokens = corpus.X.sum(dtype=np.float64)
    screen.print(str(title), "bold")
    screen.print(
        f"  {count(n_documents, 'document')}, {n_tokens:,.0f} words of which {n_words:,} different"
    )
    empty = n_documents - np.count_nonzero(corpus.X.sum(axis=1))
    notes = [f"{count(empty, 'document')} without any of these words"] if empty else []
    for note in [*notes, *corpus.notes]:
        screen.print(f"  {note}", "dim")


def show(screen, fit, vocabulary, args, fitting, *, brief=False):
    """Print the topics, how the fit went and how good it is."""
    screen.heading("The topics", "their share of all words; the probability of each word in them"
                   if not brief else "their share of all words, and their words")  # fmt: skip
    rows = [["topic", "share", "words"]]
    weights = -np.sort(-fit.topic_word, axis=1)[:, : args.words]
    for k, words in enumerate(fit.top_words(vocabulary, args.words)):
        if not brief:
            words = [f"{word} {p:.3f}" for word, p in zip(words, weights[k], strict=True)]
        rows.append([str(k), f"{fit.shares[k]:.1%}", wrapped(words, screen.width - 18)])
    screen.table(rows, left=[2])
    if not brief:
        every = getattr(fit.model, "evaluate_every", 1)
        when = "by iteration" if every == 1 else f"every {every} iterations"
        screen.heading("The bound", f"mean log-likelihood of a word (and priors), {when}")
        if hasattr(fit.model, "tol"):
            bound_lines(screen, fit.model, fit.model.lower_bounds_, fitting)
        else:  # LDA mostly goes as far as it is told to
            screen.print(f"  {sparkline(fit.model.lower_bounds_, screen.width - 4)}")
            how = "interrupted: " if fitting.interrupted else ""
            n_iter = count(fit.model.n_iter_, "iteration")
            screen.print(f"  {how}{n_iter}; {seconds(fit.seconds)} in all")
    _show_quality(screen, fit, len(vocabulary))


def _show_quality(screen, fit, n_words):
    """Print the perplexity, with what it would be without topics, and the coherence."""
    screen.heading("How good?", "perplexity of words that the fit has not seen; lower is better")
    if math.isnan(fit.perplexity):
        screen.print("  perplexity not measured: no words were held out")
    else:
        documents = count(fit.n_held_out, "document")
        of = f"on {count(fit.n_scored, 'word')}: half of each of {documents}"
        screen.table([
            ["perplexity", ""], [figure(fit.perplexity), of],
            [figure(fit.baseline), "by the words' frequencies alone, without topics"],
            [figure(n_words), "if every word were as probable as every other"],
        ], left=[1])  # fmt: skip
    if fit.coherence == fit.coherence:
        screen.print(f"  coherence {fit.coherence:.2f}, mean UMass; 0 or near it is best")


def pictures(selection, fit, vocabulary, n_words):
    """Return (heading, caption, draw) of the pictures of a report."""
    from fastem import plot
    from fastem.plot._topics import grid_of

    n_topics, n_words = min(len(fit.order), _MOST_DRAWN), min(n_words, len(vocabulary))
    which = "The topics" if n_topics == len(fit.order) else f"The {n_topics} largest topics"

    def draw(figure):
        figure.set_size_inches(grid_of(n_topics, n_words)[2])
        plot.TopicsDisplay.from_estimator(
            fit.model, vocabulary, topics=fit.order[:n_topics].tolist(), n_words=n_words,
            titles=[f"{k}: {fit.shares[k]:.1%}" for k in range(n_topics)], ax=figure.subplots(),
        )  # fmt: skip

    caption = f"{which}, with their share of all words, and their words."
    return [*general_pictures(fit.model, selection), ("The topics", caption, draw)]
