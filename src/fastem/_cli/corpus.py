"""Reads documents and counts their words, or says in one line why that is impossible."""

import gzip
import importlib
import os
import re
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer
from tqdm import tqdm

from fastem._cli import CommandError, one_line
from fastem._cli.table import count
from fastem._cli.text_columns import TABLES, Texts, column_names, read_column
from fastem._engine.sparse import canonical_csr

#: A word has three letters or more; everything else, digits and underscores too, separates words.
_TOKEN = r"[^\W\d_]{3,}"
#: Chinese, Japanese, Thai, Lao, Khmer and Burmese.
_SPACELESS = re.compile("[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
_SEGMENT = "give --tokenizer PACKAGE:FUNCTION, as jieba:lcut for Chinese"
#: Larger counts would change if they were converted to int64 and back.
_LARGEST = 1e15
#: Most rows and columns of a matrix: each has a name, and each column a number for each topic.
_MOST = 100_000_000, 10_000_000


class Corpus(NamedTuple):
    """Documents as counts of words.

    Attributes
    ----------
    X : csr_array of shape (n_documents, n_words), float32
    vocabulary : list of str
    names : list of str
        One a document.
    note : str
        What was left out without being asked; else empty.
    """

    X: sp.csr_array
    vocabulary: list[str]
    names: list[str]
    note: str = ""


def read_corpus(path, vocab=None, column=None, encoding="utf-8", **counting):
    """Read a text file, a folder of them, a table's column of texts, or a sparse matrix (.npz).

    Parameters
    ----------
    path : str
    vocab : str, default=None
        The file of the matrix's words. Default: vocab.txt beside it, if there is one.
    column : str, default=None
        The column of a table that has texts.
    encoding : str, default='utf-8'
        Of text files.
    **counting
        See :func:`count_words`; a matrix is taken as it is.
    """
    path = Path(path)
    if not path.exists():
        raise CommandError(f"{path}: no such file")
    matrix = path.suffix.lower() == ".npz" and not path.is_dir()
    if vocab is not None and not matrix:
        raise CommandError(f"--vocab names the columns of a .npz matrix, and {path} is none")
    try:
        if matrix:
            return _read_matrix(path, vocab)
        return count_words(path, _read_texts(path, column, encoding), **counting)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        where = getattr(error, "filename", None) or path
        raise CommandError(f"{where}: cannot be read ({reason})") from error


def _read_texts(path, column, encoding):
    """Return the documents of a table's column, of a folder, or of a file's lines."""
    table = [s for s in path.suffixes if s.lower() in TABLES][-1:]
    if column is not None:
        return read_column(path, column, encoding)
    if table and not path.is_dir():
        raise CommandError(
            f"{path}: is a table; name its column of texts, as --column text, which has "
            f"{', '.join(column_names(path, encoding))}"
        )
    return _read_folder(path, encoding) if path.is_dir() else _read_lines(path, encoding)


def count_words(
    source, texts, *, stop_words="english", token_pattern=None, tokenizer=None, min_df=2,
    max_df=0.5, max_words=20_000,
):  # fmt: skip
    """Count the words of texts, in lower case.

    Parameters
    ----------
    source : str or Path
        Where the texts come from, for messages.
    texts : Texts
    stop_words : str, default='english'
        Which words are too common to mean anything: 'english', 'none', or a file, a word a line.
    token_pattern : str, default=None
        What a word is. Default: three letters or more.
    tokenizer : str, default=None
        PACKAGE:FUNCTION, which returns a text's words.
    min_df : int, default=2
        A word in fewer documents is left out.
    max_df : float, default=0.5
        A word in more than this part of the documents is left out.
    max_words : int, default=20000
        The most frequent words that are left are kept.
    """
    pattern = None if tokenizer else token_pattern or _TOKEN
    vectorizer = CountVectorizer(
        token_pattern=pattern,
        tokenizer=_function(tokenizer),
        stop_words=_stop_words(stop_words),
        min_df=min_df,
        max_df=max_df,
        max_features=max_words,
        dtype=np.float32,
    )
    if not texts.texts:
        raise CommandError(f"{source}: holds no document")
    shown = tqdm(texts.texts, "counting words", disable=None, leave=False, unit=" documents")
    spaceless = not (tokenizer or token_pattern) and _is_spaceless(texts.texts)
    try:
        X = sp.csr_array(vectorizer.fit_transform(shown))
    except ValueError as error:  # scikit-learn raises this if no word is left
        cure = "lower --min-df, raise --max-df, or give --stop-words none"
        if spaceless:
            cure = f"the texts have no spaces between words: {_SEGMENT}"
        raise CommandError(
            f"{source}: no word is left of {count(len(texts.texts), 'document')}; {cure}"
        ) from error
    except Exception as error:
        if tokenizer is None:
            raise
        raise CommandError(f"--tokenizer {tokenizer}: {one_line(error)}") from error
    finally:
        shown.close()
    if spaceless:
        note = f"the texts have no spaces between words: {_SEGMENT}"
        texts = texts._replace(note=f"{texts.note}; {note}".lstrip("; "))
    return Corpus(X, vectorizer.get_feature_names_out().tolist(), texts.names, texts.note)


def _function(name):
    """Return the function that PACKAGE:FUNCTION names."""
    if name is None:
        return None
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
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
    path = Path(name)
    if not path.is_file():
        raise CommandError(f"--stop-words {name}: give english, none, or a file, a word a line")
    try:
        return [word.strip().lower() for word in _decoded(path).splitlines() if word.strip()]
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: is not UTF-8 text; give a word a line") from error


def _is_spaceless(texts):
    """Whether texts are mostly of letters that are written without spaces between words."""
    sample = "".join(text[:500] for text in texts[:200])
    letters = [letter for letter in sample if letter.isalpha()]
    without = sum(bool(_SPACELESS.match(letter)) for letter in letters)
    return without > 0.5 * len(letters) > 0


def _read_lines(path, encoding):
    """Read a text file: every line that is not blank is a document, named by its number."""
    try:
        text = _decoded(path, encoding)
    except UnicodeDecodeError as error:
        raise CommandError(
            f"{path}: is not {encoding.upper()} text; give text, a folder of it, or a matrix as "
            ".npz, or name its encoding, as --encoding cp1252"
        ) from error
    lines = [(str(i), line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    return Texts([name for name, _ in lines], [line for _, line in lines])


def _read_folder(path, encoding):
    """Read every text file in a folder and the folders in it; hidden ones are left out."""
    names, texts, n_skipped = [], [], 0
    inside = ((file, file.relative_to(path)) for file in sorted(path.rglob("*")))
    files = [
        (file, name)
        for file, name in inside
        if file.is_file() and not any(part.startswith(".") for part in name.parts)
    ]
    for file, name in tqdm(files, "reading", disable=None, leave=False, unit=" files"):
        try:
            text = _decoded(file, encoding)
        except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error):
            n_skipped += 1
            continue
        if text.strip():
            # A name of bytes that are not UTF-8 could not be written to a file of ours.
            names.append(os.fsencode(name.as_posix()).decode("utf-8", "replace"))
            texts.append(text)
    note = f"{count(n_skipped, 'file')} skipped that {'is' if n_skipped == 1 else 'are'} not text"
    return Texts(names, texts, note if n_skipped else "")


def _decoded(path, encoding="utf-8"):
    """Return the text of a file, unpacked if its name ends in .gz; UnicodeDecodeError if none."""
    data = path.read_bytes()
    if path.suffix.lower() == ".gz":
        data = gzip.decompress(data)
    if b"\0" in data and not encoding.lower().startswith(
        "utf-16"
    ):  # valid UTF-8, but no text has it
        place = data.index(b"\0")
        raise UnicodeDecodeError("utf-8", data, place, place + 1, "a zero byte")
    return data.decode("utf-8-sig" if encoding == "utf-8" else encoding)


def _read_matrix(path, vocab):
    """Read a matrix, documents × words, that scipy.sparse.save_npz wrote, and its words."""
    try:
        X = sp.load_npz(path)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # SciPy's reader trusts the file: damaged ones raise anything
        raise CommandError(
            f"{path}: is not a matrix that scipy.sparse.save_npz wrote ({one_line(error)})"
        ) from error
    if X.dtype.kind not in "fiub":
        raise CommandError(f"{path}: holds {X.dtype}; convert it to real numbers")
    if X.ndim != 2:
        raise CommandError(f"{path}: has shape {X.shape}; make it documents × words")
    for n, most, what in zip(X.shape, _MOST, ("rows", "columns"), strict=True):
        if n > most:
            raise CommandError(
                f"{path}: has {n:,} {what}, more than {most:,}; leave out those without counts"
            )
    try:
        X = sp.csr_array(canonical_csr(X))
    except ValueError as error:
        raise CommandError(f"{path}: {one_line(error)}") from error
    wrong = ~((X.data >= 0) & (X.data <= _LARGEST))
    if wrong.any():
        place = int(wrong.argmax())
        row = int(np.searchsorted(X.indptr, place, side="right")) - 1
        raise CommandError(
            f"{path}, row {row + 1}, column {X.indices[place] + 1}: {X.data[place]:.10g} is not a "
            "count"
        )
    if not len(X.data):
        raise CommandError(f"{path}: has no count above 0")
    words, note = _words(path, vocab, X.shape[1])
    names = [str(i) for i in range(1, X.shape[0] + 1)]
    return Corpus(X.astype(np.float32), words, names, note)


def _words(path, vocab, n_words):
    """Return the names of a matrix's columns, and a note where they are made up."""
    file = path.with_name("vocab.txt") if vocab is None else Path(vocab)
    columns = [f"w{j}" for j in range(n_words)]
    if vocab is None and not file.exists():
        return columns, "no vocab.txt beside it: words are named by their column, from w0"
    if not file.is_file():
        raise CommandError(f"{file}: no such file")
    try:
        words = _decoded(file).rstrip("\r\n").split("\n")
    except UnicodeDecodeError as error:
        raise CommandError(f"{file}: is not UTF-8 text; give a word a line") from error
    problem = f"has {count(len(words), 'line')} where {path} has {count(n_words, 'column')}"
    if len(words) == n_words:
        return [word.strip() for word in words], "" if vocab else f"words from {file}"
    if vocab is None:  # perhaps they belong to another corpus: no reason to refuse the matrix
        return columns, f"{file} {problem}: words are named by their column, from w0"
    raise CommandError(f"{file}: {problem}; give a word a line, in the order of the columns")
