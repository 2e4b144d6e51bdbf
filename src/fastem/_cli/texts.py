"""Reads documents, one at a time, and counts their words; or says why that is impossible."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import re
import warnings
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer

from fastem._cli import CommandError, count, need, one_line, readable, short
from fastem._cli.counts import Counts, StoredCounts
from fastem._cli.reading import Wanted, choose, ending, open_table
from fastem._cli.sources import lines_of

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".xlsx")
#: A word has three letters or more; everything else, digits and underscores too, separates words.
_TOKEN = r"[^\W\d_]{3,}"
#: Chinese, Japanese, Thai, Lao, Khmer and Burmese.
_SPACELESS = re.compile("[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
#: As scikit-learn says it, and we do.
_NONE_LEFT = re.compile("empty vocabulary|no terms remain|max_df corresponds")
_NO_SPACES = (
    "the texts have no spaces between words: give --tokenizer PACKAGE:FUNCTION, as jieba:lcut for "
    "Chinese"
)


class Corpus(NamedTuple):
    """Documents as counts of words."""

    X: sp.csr_array | StoredCounts  # (n_documents, n_words), float32
    vocabulary: list[str]
    names: list[str]  # of the documents
    notes: tuple[str, ...] = ()  # what was left out without being asked


class Texts:
    """Documents that are read when they are wanted, once; `names` are there at the end.

    Parameters
    ----------
    pairs : iterable of (name, text)
        Blank texts are left out.
    notes : list of str
        What there is to say; `pairs` may add to it.
    """

    def __init__(self, pairs, notes=()):
        self.pairs, self.notes = pairs, notes
        self.names: list[str] = []
        self.sample = ""

    def __iter__(self) -> Iterator[str]:
        for name, text in self.pairs:
            if text and text.strip():
                self.names.append(str(name))
                self.sample += text[:500] if len(self.sample) < 50_000 else ""
                yield text

    @property
    def is_spaceless(self):
        """Whether texts are mostly of letters that are written without spaces between words."""
        letters = [letter for letter in self.sample if letter.isalpha()]
        return sum(bool(_SPACELESS.match(letter)) for letter in letters) > len(letters) / 2 > 0


def count_words(source, texts, args, progress=None, folder=None):
    """Count the words of texts, in lower case, as the command's options say.

    `folder` is where there is room for a temporary file.
    """
    vectorizer = CountVectorizer(
        token_pattern=None if args.tokenizer else args.token_pattern or _TOKEN,
        tokenizer=_function(args.tokenizer), stop_words=_stop_words(args.stop_words),
    )  # fmt: skip

    def shown():
        for text in texts:
            if progress is not None and len(texts.names) % 1000 == 0:
                progress(f"counting words: {len(texts.names):,} documents")
            yield text

    try:
        with warnings.catch_warnings():  # of a list's words that no text could have
            warnings.filterwarnings("ignore", "Your stop_words may be inconsistent")
            words_of, counts = vectorizer.build_analyzer(), Counts(folder)
            for text in shown():
                counts.add(words_of(text))
            X, vocabulary = counts.finished(args.min_df, args.max_df, args.max_words)
    except (CommandError, OSError, EOFError, MemoryError, zlib.error):
        raise
    except Exception as error:  # scikit-learn's if no word is left; or the tokenizer's
        if not texts.names:
            raise CommandError(f"{source}: holds no document") from error
        if args.tokenizer is not None and not _NONE_LEFT.search(str(error)):
            raise CommandError(f"--tokenizer {args.tokenizer}: {one_line(error)}") from error
        cure = "lower --min-df, raise --max-df, or give --stop-words none"
        if texts.is_spaceless and args.tokenizer is None:
            cure = _NO_SPACES
        documents = count(len(texts.names), "document")
        raise CommandError(f"{source}: no word is left of {documents}; {cure}") from error
    spaceless = texts.is_spaceless and not (args.tokenizer or args.token_pattern)
    notes = (*texts.notes, *([_NO_SPACES] if spaceless else []))
    return Corpus(X, vocabulary, texts.names, notes)


def _function(name):
    """Return the function that PACKAGE:FUNCTION names."""
    if name is None:
        return None
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module of the user's may raise anything
        raise CommandError(
            f"--tokenizer {name}: there is no such function ({one_line(error)}); give "
            "PACKAGE:FUNCTION, as jieba:lcut"
        ) from error
    if not callable(function):
        raise CommandError(f"--tokenizer {name}: is no function")
    return function


def _stop_words(name):
    """Return words to leave out, as scikit-learn's CountVectorizer takes them."""
    if name in ("english", "none"):
        return None if name == "none" else name
    if Path(name).is_file():
        with readable(name):
            return [word.strip().lower() for word in lines_of(name) if word.strip()]
    if not re.fullmatch("[a-z]{2}", name):
        raise CommandError(
            f"--stop-words {name}: give english, none, a file with a word a line, or a language's "
            "code, as de"
        )
    lists = need("stopwordsiso", "stopwords", f"--stop-words {name}")
    if not lists.has_lang(name):
        known = ", ".join(sorted(lists.langs()))
        raise CommandError(f"--stop-words {name}: is none of the languages {known}")
    return sorted(lists.stopwords(name))


# ---- documents ----------------------------------------------------------------------------------


def open_texts(path, column, encoding):
    """Return the documents of a table's column, of a folder, or of a file's lines."""
    notes: list[str] = []
    if path.is_dir():
        if column is not None:
            raise CommandError(f"{path}: is a folder, and --column names a column of a table")
        return Texts(_files(path, encoding, notes), notes)
    if column is None and ending(path) not in TABLES:
        return Texts(_lines(path, encoding, notes), notes)
    rows = _rows(path, encoding)
    names = next(rows)
    if column is None:
        listed = short(", ".join(names), 200)
        raise CommandError(
            f"{path}: is a table; name its column of texts, as --column text, which has {listed}"
        )
    (place,) = choose(str(path), names, [column])
    return Texts(_cells(path, rows, place, column, notes), notes)


def _cells(path, rows, place, column, notes):
    """Yield (number, text) of a table's column."""
    blank = 0
    for number, cells in rows:
        text = cells[place]
        if isinstance(text, str) and text.strip():
            yield number, text
        elif text is None or isinstance(text, str) or text != text:
            blank += 1
        else:
            what = f"{short(repr(text))} is no text"
            raise CommandError(f"{path}, row {number}, column {column}: {what}")
    if blank:
        notes.append(f"{count(blank, 'row')} without a text left out")


def _rows(path, encoding):
    """Yield the names of a table's columns, and then (number, cells) of each row."""
    if ending(path) not in (*TABLES, ".txt"):
        raise CommandError(f"{path}: is no table with columns; can read {', '.join(TABLES)}")
    if ending(path) not in (".jsonl", ".ndjson"):
        source = open_table(path, Wanted(encoding=encoding))
        yield source.names
        for places, cells, _ in source.pieces(list(range(len(source.names))), False):
            yield from zip(places, cells, strict=True)
        return
    names: list[str] = []
    for number, line in enumerate(lines_of(path, encoding), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            why = getattr(error, "msg", one_line(error))
            raise CommandError(f"{path}, line {number}: is no JSON object ({why})") from error
        if not isinstance(record, dict):
            raise CommandError(f"{path}, line {number}: is no JSON object")
        if not names:
            names = list(record)
            yield names
        yield number, [record.get(name) for name in names]
    if not names:
        raise CommandError(f"{path}: holds nothing but blank lines")


def _lines(path, encoding, notes):
    """Yield (number, line) of a file, which may be a table: all lines have as many separators."""
    yield from enumerate(lines_of(path, encoding), 1)
    head = [line for line in islice(lines_of(path, encoding), 20) if line.strip()]
    for mark in ",;\t":
        numbers = {line.count(mark) for line in head}
        if len(head) > 2 and len(numbers) == 1 and min(numbers) > 0:
            cure = f"--column {min(numbers) + 1} takes the texts of a column"
            notes[:] = [f"looks like a table: {cure}"]


def _files(path, encoding, notes):
    """Yield (name, text) of the files in a folder and the folders in it; not of hidden ones."""
    skipped = 0
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if not file.is_file() or any(part.startswith(".") for part in name.parts):
            continue
        try:
            text = "".join(lines_of(file, encoding))
        except (CommandError, gzip.BadGzipFile, EOFError, zlib.error):
            skipped += 1
            continue
        # A name of bytes that are not UTF-8 could not be written to a file of ours.
        yield os.fsencode(name.as_posix()).decode("utf-8", "replace"), text
    if skipped:
        verb = "is" if skipped == 1 else "are"
        notes.append(f"{count(skipped, 'file')} skipped that {verb} not text")
