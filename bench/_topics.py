"""What the benches of topic models share: corpora, likelihood, scikit-learn's NMF.

The corpora are real ones where they are at hand, else docstrings made into one.
"""

import ast
import functools
import os
import sysconfig
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from reference import plsa as reference

# Documents that stand in for a corpus that is not at hand: about as many as it has, but for debian,
# because parsing files for 50,000 takes minutes.
SIZES = {"kos": 3_000, "nips": 1_500, "bbc_news": 2_000, "debian": 8_000}
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"  # unless FASTEM_DATA is set
LEAST_WORDS = 20  # of a docstring that counts as a document


def load_corpus(name):
    """Counts, a CSR array of float64 (documents, words), and what the report calls them.

    They are read from NAME/train.npz in the folder FASTEM_DATA, or else in the folder shared/data
    beside the repository.
    """
    path = Path(os.environ.get("FASTEM_DATA", DATA)) / name / "train.npz"
    if path.exists():
        X, title = sp.csr_array(sp.load_npz(path)), name
    else:
        X, title = _docstring_counts(SIZES[name]), f"docstrings for {name}"
    X = X.astype(np.float64)
    X.sum_duplicates()
    # Empty documents and unused words have no likelihood, and peers differ in what they make of it.
    return X[np.diff(X.indptr) > 0][:, X.sum(axis=0) > 0], title


@functools.cache
def _docstring_counts(n_documents):
    """Counts of the words in the first docstrings of the installed packages."""
    from sklearn.feature_extraction.text import CountVectorizer

    texts = dict.fromkeys(_docstrings(n_documents))  # without copies, in order
    words = CountVectorizer(stop_words="english", min_df=3, max_df=0.3, token_pattern=r"[a-z]{3,}")
    return sp.csr_array(words.fit_transform(texts))


def _docstrings(most):
    """Yield docstrings of the installed packages; the files are parsed, and nothing is imported."""
    found = 0
    for path in sorted(Path(sysconfig.get_path("purelib")).rglob("*.py")):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # a template, or a test of a parser
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            text = ast.get_docstring(node) or ""
            if len(text.split()) >= LEAST_WORDS:
                yield text
                found += 1
                if found == most:
                    return


@contextmanager
def no_convergence_warnings():
    """The number of iterations is chosen: nobody converges."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*did not converge")
        yield


def nmf(X, W, H, n_iter):
    """Factors after n_iter multiplicative updates of both; the given ones stay as they are."""
    from sklearn.decomposition import NMF

    settings = {"solver": "mu", "beta_loss": "kullback-leibler", "init": "custom", "tol": 0}
    model = NMF(H.shape[0], max_iter=n_iter, **settings)
    W = model.fit_transform(X, W=W.copy(), H=H.copy())
    return W, model.components_


def probabilities(W, H):
    """p(z|d) and p(w|z) of factors of the counts."""
    topics = H.sum(axis=1)
    doc_topic = W * topics
    return doc_topic / doc_topic.sum(axis=1, keepdims=True), H / topics[:, np.newaxis]


def likelihood(X, doc_topic, topic_word):
    """Mean log-likelihood per token."""
    sums = reference.e_step(X, doc_topic, topic_word)
    return sums["bound"] / sums["weight"]
