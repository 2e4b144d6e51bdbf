import numpy as np

class Chunks:
    n_docs: int
    nnz: int
    n_chunks: int
    doc_begin: np.ndarray
    word: np.ndarray
    cuts: np.ndarray
    def __init__(self, doc_begin: np.ndarray, word: np.ndarray, cuts: np.ndarray) -> None: ...

def cvb0_pass(
    chunks: Chunks,
    first: int,
    last: int,
    count: np.ndarray,
    doc_weight: np.ndarray | None,
    doc_topic_prior: np.ndarray,
    word_prior: float,
    q: np.ndarray,
    doc_topic: np.ndarray,
    word_topic: np.ndarray,
    totals: np.ndarray,
    log_likelihood: np.ndarray | None,
    n_threads: int,
) -> None: ...
def draw_pass(
    chunks: Chunks,
    first: int,
    last: int,
    count: np.ndarray,
    token_begin: np.ndarray,
    doc_topic_prior: np.ndarray,
    word_prior: float,
    key: int,
    topic: np.ndarray,
    next_topic: np.ndarray,
    word_topic: np.ndarray,
    totals: np.ndarray,
    histogram: np.ndarray | None,
    log_likelihood: np.ndarray | None,
    n_topics: int,
    n_threads: int,
    q: np.ndarray | None = None,
) -> None: ...
def random_key(seed: int, sweep: int) -> int: ...
def uniforms(key: int, first: int, last: int) -> np.ndarray: ...
def lanes(width: int, dtype: np.dtype) -> int: ...
def column_sums(rows: np.ndarray, n_columns: int, n_threads: int) -> np.ndarray: ...
