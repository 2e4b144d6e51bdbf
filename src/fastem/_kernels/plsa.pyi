import numpy as np

def width(n_topics: int, dtype: np.dtype) -> int: ...
def transpose(
    doc_begin: np.ndarray, word: np.ndarray, n_words: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
def pass_documents(
    doc_topic: np.ndarray,
    word_topic: np.ndarray,
    doc_begin: np.ndarray,
    word: np.ndarray,
    count: np.ndarray,
    doc_weight: np.ndarray | None,
    new_doc_topic: np.ndarray | None,
    ratio: np.ndarray | None,
    log_likelihood: np.ndarray | None,
    n_topics: int,
    doc_prior: float,
    n_threads: int,
    max_sweeps: int = 1,
    tol: float = 0.0,
) -> None: ...
def pass_words(
    doc_topic: np.ndarray,
    word_topic: np.ndarray,
    word_begin: np.ndarray,
    doc: np.ndarray,
    position: np.ndarray,
    ratio: np.ndarray,
    sums: np.ndarray,
    n_topics: int,
    n_threads: int,
) -> np.ndarray: ...
