"""``python -m fastem topics [INPUT]``: a topic model of the user's documents.

Three files are written beside INPUT, or in ``--output-dir``; topic 0 is the largest in all of them:

- ``NAME.topics.json``: the topics as words with weights, how good they are, how they came about;
- ``NAME.model.npz``: ``components``, p(word|topic), and ``vocabulary``, the words of its columns;
  of Gaussian topics also ``means`` and ``covariances``, the diagonals;
- ``NAME.documents.csv``: for each document, in order, its topic probabilities.

The model is fitted to nine tenths of the documents and measured on the last tenth, and is not
fitted again to all: what is written is what was measured. The table has all documents.

In the library the priors default to 0, here they do not: a word that only held-out documents have
would be impossible, and so would the words of a topic that the other half of a document did not
show; one such word makes a perplexity infinite. Of the values that were tried on docstrings and
political blogs, the defaults were about the best.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastem import __version__, plot
from fastem._cli import CommandError, count, one_line, outputs
from fastem._cli.corpora import read_corpus
from fastem._cli.counts import StoredCounts, as_csr, tokens_of
from fastem._cli.fitting import Fitting, show_comparison
from fastem._cli.models import MODELS
from fastem._cli.page import check_report, page
from fastem._cli.screen import (
    Screen,
    bound_section,
    figure,
    pictures_of_fit,
    selection_section,
    wrapped,
)  # fmt: skip
from fastem._cli.temporary import temporary_file
from fastem._engine.blocks import Blocks
from fastem.select.documents import divided, halves, held_out_log_likelihood
from fastem.select.result import chosen
from fastem.topics.summary import mean_of

#: Fewer documents are too few to hold some out.
FEWEST_DOCUMENTS = 10
_MOST_DRAWN = 40  # topics in a picture
_WORDS = 50  # of each topic in the file
_ROWS = 10_000  # documents that are worked on at a time
_MOST_HELD_OUT = 10_000  # documents of a corpus that is not in memory
_IN_MEMORY = "cvb0", "stochastic"  # algorithms that keep a topic of every word, and need no less


def main(args):
    """Read, fit, report, write."""
    settings, paths, folder, screen = _settings_of(args), [], None, Screen()
    if args.input is not None or args.output_dir is not None:
        endings = "topics.json", "model.npz", "documents.csv"
        paths = outputs.output_paths(args.input or "docstrings", args.output_dir, *endings)
        outputs.check_outputs(paths, args.force)
        folder = outputs.existing_folder(paths[0])
    check_report(args)
    with Fitting("reading", keeps=False) as reading:
        title, corpus, vectors = read_corpus(args, reading.show, folder)
    _show_corpus(screen, title, corpus)
    with Fitting() as fitting:
        fit, selection = _fit_all(title, corpus, args, settings | vectors, fitting)
    if selection is not None:
        selection_section(screen, selection)
    _show(screen, fit, args, fitting)
    if args.compare:
        show_comparison(screen, as_csr(corpus.X), fit.model)
    files = _files(paths, title, corpus, fit, selection) if paths else {}
    if args.report is not None:
        pictures = _pictures(selection, fit, corpus.vocabulary, args.words)
        files[args.report] = page(title, screen, pictures)
    if files:
        outputs.write_all(files)
        screen.written(files)
    return 130 if fitting.interrupted else 0


def _files(paths, title, corpus, fit, selection):
    """Return what the three files hold."""
    model, X, n_tokens = fit.model, corpus.X, tokens_of(corpus.X)
    settings = {name: value for name, value in model.get_params().items() if name != "vectors"}
    choice = {}
    if selection is not None:
        choice = {"criterion": selection.criterion, "candidates": selection.table}
    content = choice | {
        "fastem": __version__, "corpus": title, "model": type(model).__name__,
        "n_documents": X.shape[0], "n_words": X.shape[1], "n_tokens": float(n_tokens.sum()),
        "settings": settings, "converged": bool(getattr(model, "converged_", False)),
        "n_iter": int(model.n_iter_), "lower_bound": float(model.lower_bound_), **fit.found,
        "vocabulary": corpus.vocabulary,
        "lower_bounds": [float(bound) for bound in model.lower_bounds_],
    }  # fmt: skip
    arrays = {"components": fit.topic_word, "vocabulary": np.array(corpus.vocabulary)}
    for name in ("means", "covariances"):
        if hasattr(model, f"{name}_"):
            arrays[name] = getattr(model, f"{name}_")[fit.order]
    header = ["document", "words", "topic", *(f"topic_{k}" for k in range(len(fit.order)))]
    columns = [n_tokens, fit.largest, *(fit.doc_topic[:, k] for k in fit.order)]
    table = outputs.csv_of(header, corpus.names, columns)
    return dict(
        zip(paths, (outputs.to_json(content), outputs.to_npz(**arrays), table), strict=True)
    )


# ---- fits ---------------------------------------------------------------------------------------


class TopicFit(NamedTuple):
    """A fitted topic model, its topics by falling share."""

    model: Any  # fitted to the documents not held out; its topics are in an order of its own
    order: Any  # the numbers that the topics have in the model
    topic_word: Any  # p(w|z)
    doc_topic: Any  # p(z|d) of all documents, by `transform`, as the model has them; or mapped
    largest: Any  # the place in the order of each document's largest topic
    found: dict[str, Any]  # what the fit is worth, and its topics: a part of the JSON file


def _settings_of(args):
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
        settings |= {kind.algorithm: algorithm, "topic_word_prior": args.topic_word_prior}
    # LDA then stops when the perplexity hardly changes.
    return settings | ({"evaluate_every": 5} if args.model == "lda" else {"tol": args.tol})


def _fit_all(title, corpus, args, settings, fitting):
    """Fit each number of topics, until Ctrl-C; return the best, and the choice, if any."""
    fits: list[TopicFit] = []
    try:
        if settings.get("learning_method") in _IN_MEMORY or args.compare:
            corpus = corpus._replace(X=as_csr(corpus.X))
        parts = _parts(corpus.X, args)
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
            fits.append(_fit(model, corpus, parts, args))
        if len(args.components) == 1:
            return fits[0], None
        names, table = ("held_out", "coherence", "converged", "error"), []
        for fit in fits:
            row = -math.log(fit.found["perplexity"]), fit.found["coherence"], None, None
            table.append({"n_components": len(fit.order)} | dict(zip(names, row, strict=True)))
        selection = chosen(args.criterion, table, ["n_components"], fits)
    except ValueError as error:
        raise CommandError(f"{title}: {one_line(error)}") from error
    return selection.best_estimator_, selection


def _parts(X, args):
    """Return the documents to fit, and two halves of the words of the others, or None."""
    if isinstance(X, StoredCounts):
        return _parts_of_stored(X, args)
    whole = not np.any(X.data != np.floor(X.data))
    if not args.held_out or X.shape[0] < FEWEST_DOCUMENTS or not whole:
        return X, None, None
    try:
        return divided(X, args.held_out, np.random.RandomState(args.seed))
    except ValueError:  # no words on one side
        return X, None, None


def _parts_of_stored(X, args):
    """Return the same of many documents; those that are held out are in memory."""
    if not args.held_out or X.shape[0] < FEWEST_DOCUMENTS:
        return X.blocks(), None, None
    rng, n = np.random.RandomState(args.seed), X.shape[0]
    held_out = np.zeros(n, bool)
    held_out[rng.permutation(n)[: min(math.ceil(args.held_out * n), _MOST_HELD_OUT)]] = True
    train = X.blocks(~held_out)
    known = sum(some.sum(axis=0, dtype=np.float64) for some in train) > 0
    observed, held = halves(X.csr(held_out), known, rng)
    return (train, observed, held) if held.nnz else (X.blocks(), None, None)


def _transformed(model, X):
    """Return the documents' topics; of many documents they are in a file that is mapped."""
    if not isinstance(X, StoredCounts):
        return model.transform(X)
    n = 0
    with temporary_file(X.file.folder) as file:  # which stays open while it is mapped
        for some in model.transform(X.blocks()):
            file.write(np.ascontiguousarray(some).data)  # tofile() does not tell of a full disk
            n += len(some)
        file.flush()
        return np.memmap(file, some.dtype, "r", shape=(n, some.shape[1]))


def _largest(doc_topic, order):
    """Return the place in the order of each document's largest topic."""
    parts = (doc_topic[begin : begin + _ROWS] for begin in range(0, len(doc_topic), _ROWS))
    return np.concatenate([part[:, order].argmax(axis=1) for part in parts])


def _fit(model, corpus, parts, args):
    """Fit and measure."""
    X, (train, observed, held) = corpus.X, parts
    model.fit(train)
    doc_topic = _transformed(model, X)
    shares = tokens_of(X) @ doc_topic
    shares /= shares.sum() or 1.0
    order = np.argsort(-shares, kind="stable")  # topic 0 is the largest, everywhere
    # Gaussian topics have no prior: a word of no topic would be impossible.
    smoothing = args.topic_word_prior if hasattr(model, "means_") else 0
    counts = model.components_ + model.components_.dtype.type(smoothing)
    topic_word = counts / counts.sum(axis=1, keepdims=True)
    coherences = model.coherence(train)
    perplexity = baseline = math.nan
    if observed is not None:
        perplexity = math.exp(-held_out_log_likelihood(model, observed, held, topic_word))
        each = train if isinstance(train, Blocks) else [train]
        frequency = sum(some.sum(axis=0, dtype=np.float64) for some in each) + 0.5  # none is 0
        scored = held.sum(axis=0, dtype=np.float64)
        baseline = math.exp(-float(scored @ np.log(frequency / frequency.sum())) / scored.sum())
    words, weights = model.top_words(corpus.vocabulary, _WORDS), -np.sort(-topic_word, axis=1)
    topics = [
        {"topic": i, "share": float(shares[k]), "coherence": float(coherences[k]),
         "words": words[k], "weights": weights[k, :_WORDS].tolist()}
        for i, k in enumerate(order)
    ]  # fmt: skip
    found = {
        "n_documents_held_out": 0 if observed is None else observed.shape[0],
        "n_tokens_held_out": 0 if held is None else int(held.sum(dtype=np.float64)),
        "perplexity": perplexity, "perplexity_of_frequencies": baseline,
        "coherence": mean_of(coherences), "topics": topics,
    }  # fmt: skip
    largest = _largest(doc_topic, order)
    return TopicFit(model, order, topic_word[order], doc_topic, largest, found)


# ---- what is shown ------------------------------------------------------------------------------


def _show_corpus(screen, title, corpus):
    """Say what was read."""
    n_documents, n_words = corpus.X.shape
    lengths = tokens_of(corpus.X)
    documents, tokens = count(n_documents, "document"), lengths.sum()
    screen.print(title, "bold")
    screen.print(f"  {documents}, {tokens:,.0f} words of which {n_words:,} different")
    empty = n_documents - np.count_nonzero(lengths)
    notes = [f"{count(empty, 'document')} without any of these words"] if empty else []
    for note in [*notes, *corpus.notes]:
        screen.print(f"  {note}", "dim")


def _show(screen, fit, args, fitting):
    """Print the topics, how the fit went and how good it is."""
    note = "their share of all words; the probability of each word in them"
    screen.heading("The topics", note)
    rows = [["topic", "share", "words"]]
    for topic in fit.found["topics"]:
        pairs = zip(topic["words"][: args.words], topic["weights"], strict=False)
        words = wrapped([f"{word} {p:.3f}" for word, p in pairs], screen.width - 18)
        rows.append([str(topic["topic"]), f"{topic['share']:.1%}", words])
    screen.table(rows, left=[2])
    what = "mean log-likelihood of a word (and priors)"
    bound_section(screen, fit.model, fitting, what)
    found = fit.found
    screen.heading("How good?", "perplexity of words that the fit has not seen; lower is better")
    if math.isnan(found["perplexity"]):
        screen.print("  perplexity not measured: no words were held out")
    else:
        words = count(found["n_tokens_held_out"], "word")
        of = f"on {words}: half of each of {count(found['n_documents_held_out'], 'document')}"
        baseline = figure(found["perplexity_of_frequencies"])
        screen.table([
            ["perplexity", ""], [figure(found["perplexity"]), of],
            [baseline, "by the words' frequencies alone, without topics"],
            [figure(fit.topic_word.shape[1]), "if every word were as probable as every other"],
        ], left=[1])  # fmt: skip
    if found["coherence"] == found["coherence"]:
        screen.print(f"  coherence {found['coherence']:.2f}, mean UMass; 0 or near it is best")


def _pictures(selection, fit, vocabulary, n_words):
    """Return (heading, caption, draw) of the pictures of a report."""
    from fastem.plot._topics import grid_of

    n_topics, n_words = min(len(fit.order), _MOST_DRAWN), min(n_words, len(vocabulary))
    which = "The topics" if n_topics == len(fit.order) else f"The {n_topics} largest topics"
    titles = [f"{k}: {fit.found['topics'][k]['share']:.1%}" for k in range(n_topics)]

    def draw(figure):
        figure.set_size_inches(grid_of(n_topics, n_words)[2])
        plot.TopicsDisplay.from_estimator(
            fit.model, vocabulary, topics=fit.order[:n_topics].tolist(), n_words=n_words,
            titles=titles, ax=figure.subplots(),
        )  # fmt: skip

    caption = f"{which}, with their share of all words, and their words."
    return [*pictures_of_fit(fit.model, selection), ("The topics", caption, draw)]
