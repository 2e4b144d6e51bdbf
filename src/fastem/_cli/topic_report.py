"""Prints what a person wants to know of topics; every function prints one section."""

import math

import numpy as np

from fastem._cli import report
from fastem._cli.screen import bar, seconds, sparkline, width_of
from fastem._cli.table import count
from fastem._cli.topic_fitting import mean_coherence


def corpus_lines(screen, title, corpus):
    """Say what was read."""
    n_documents, n_words = corpus.X.shape
    n_tokens = corpus.X.sum(dtype=np.float64)
    screen.print(screen.bold(title))
    screen.print(
        f"  {_many(n_documents, 'document')}, {n_tokens:,.0f} words of which {n_words:,} different"
    )
    empty = n_documents - np.count_nonzero(corpus.X.sum(axis=1))
    if empty:
        screen.print(screen.dim(f"  {_many(empty, 'document')} without any of these words"))
    if corpus.note:
        screen.print(screen.dim(f"  {corpus.note}"))


def choice_section(screen, fits, best):
    """The perplexity of each number of topics."""
    screen.heading("How many topics?", "perplexity of held-out words, lower is better")
    numbers = [len(fit.order) for fit in fits]
    digits = max(len(f"{fit.perplexity:,.0f}") for fit in fits)
    span = max(fit.perplexity for fit in fits) - best.perplexity or 1.0
    for k, fit in zip(numbers, fits, strict=True):
        excess = fit.perplexity - best.perplexity
        drawn = bar(excess / span, screen.width - digits - 26)
        end = screen.accent("◀ lowest") if fit is best else f"{drawn} +{excess:,.0f}"
        coherence = mean_coherence(fit)
        of_words = "" if coherence is None else f"coherence {coherence:.2f}"
        screen.print(f"  K = {k:<4} {fit.perplexity:>{digits},.0f}  {of_words}  {end}")
    if len(best.order) in (numbers[0], numbers[-1]) and len(best.order) > 1:
        more = "more" if len(best.order) == numbers[-1] else "fewer"
        screen.print(f"  The best is at the edge of what was tried: try {more}.")


def topics_section(screen, fit, vocabulary, n_words, *, brief=False):
    """Share and most probable words of each topic; `brief` gives each a line."""
    screen.heading("The topics", "their share of all words; the probability of each word in them")
    digits = len(str(len(fit.order) - 1))
    for k, words in enumerate(fit.top_words(vocabulary, n_words)):
        weights = -np.sort(-fit.topic_word[k])[:n_words]
        items = [f"{word} {weight:.3f}" for word, weight in zip(words, weights, strict=True)]
        lead = f"  {k:>{digits}}  {fit.shares[k]:>5.1%}  "
        lines = _wrapped(items, screen.width - len(lead))
        for i, line in enumerate(lines[:1] if brief else lines):
            end = "," if brief or line is lines[-1] else ""  # of a list that goes on, it stays
            screen.print((lead if i == 0 else " " * len(lead)) + line.removesuffix(end))


def _wrapped(items, width):
    """Return lines of items with commas between, none of which is broken in two."""
    lines, line = [], ""
    for i, item in enumerate(items):
        item += "," if i < len(items) - 1 else ""
        if line and width_of(line) + 1 + width_of(item) > width:
            lines.append(line)
            line = item
        else:
            line = f"{line} {item}".lstrip()
    return [*lines, line]


def fit_section(screen, fit):
    """The bound by iteration."""
    model = fit.model
    every = getattr(model, "evaluate_every", 1)
    when = "by iteration" if every == 1 else f"every {every} iterations"
    screen.heading("The bound", f"mean log-likelihood of a word (and priors), {when}")
    screen.print(f"  {sparkline([float(b) for b in model.lower_bounds_], screen.width - 4)}")
    if hasattr(model, "tol"):
        report.ending(screen, model, fit.seconds)
    else:  # LDA mostly goes as far as it is told to
        screen.print(f"  {count(model.n_iter_, 'iteration')}; {seconds(fit.seconds)} in all")


def quality_section(screen, fit, n_words):
    """The perplexity on held-out words, with what it would be without topics; the coherence."""
    screen.heading("How good?", "perplexity of words that the fit has not seen; lower is better")
    if math.isnan(fit.perplexity):
        screen.print("  perplexity  not measured: no words were held out")
    else:
        screen.print(
            f"  perplexity {fit.perplexity:>8,.0f}  on {_many(fit.n_scored, 'word')}: half of each "
            f"of {_many(fit.n_held_out, 'document')}"
        )
        screen.print(f"  {fit.baseline:>19,.0f}  by the words' frequencies alone, without topics")
        screen.print(f"  {n_words:>19,}  if every word were as probable as every other")
    coherence = mean_coherence(fit)
    if coherence is not None:
        screen.print(
            f"  coherence  {coherence:>8.2f}  mean UMass of the topics; 0 or near it is best"
        )


def timing_section(screen, timings, n_components, shape, n_iter):
    """Time for equal iterations of fastem and plain NumPy."""
    screen.heading("The time", "from one start, each the shortest of several runs that took turns")
    # float32: seven digits, of which a sum over many words keeps five for certain.
    report.timing_rows(screen, timings, n_components, shape, n_iter, tolerance=1e-5)


def _many(n, noun):
    """'1 document', '1,200 documents'."""
    return count(n, noun) if n < 1000 else f"{n:,} {noun}s"
