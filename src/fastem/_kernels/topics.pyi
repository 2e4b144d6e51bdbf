import numpy as np

from fastem._kernels.gamma_stream import GammaStream

def width(n_topics: int, dtype: np.dtype) -> int: ...

class Counts:
    n_docs: int
    nnz: int
    @property
    def word_id(self) -> np.ndarray: ...
    def __init__(
        self,
        doc_begin: np.ndarray,
        word: np.ndarray,
        count: np.ndarray,
        doc_weight: np.ndarray | None = None,
    ) -> None: ...

def documents(
    counts: Counts,
    doc_topic: np.ndarray,
    topics: np.ndarray,
    scale: np.ndarray,
    new_doc_topic: np.ndarray | None,
    log_likelihood: np.ndarray | None,
    n_topics: int,
    word_prior: float,
    doc_prior: float,
    n_threads: int,
    max_sweeps: int = 1,
    tol: float = 0.0,
) -> None: ...
def e_step(
    counts: Counts,
    doc_topic: np.ndarray,
    topics: np.ndarray,
    scale: np.ndarray,
    new_doc_topic: np.ndarray,
    log_likelihood: np.ndarray | None,
    sums: np.ndarray,
    n_topics: int,
    word_prior: float,
    doc_prior: float,
    n_threads: int,
    total: np.ndarray | None = None,
    relax: float = 0.0,
    momentum: float = 0.0,
    last_doc_topic: np.ndarray | None = None,
) -> np.ndarray: ...
def add_rows(total: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None: ...
def dirichlet_e_step(
    counts: Counts,
    gamma: np.ndarray,
    doc_topic_prior: np.ndarray,
    topics: np.ndarray,
    scale: np.ndarray,
    doc_topic: np.ndarray,
    log_likelihood: np.ndarray | None,
    sums: np.ndarray | None,
    n_topics: int,
    n_threads: int,
    max_sweeps: int,
    tol: float,
    total: np.ndarray | None = None,
    least_theta: float = 0.0,
    first: GammaStream | None = None,
) -> np.ndarray | None: ...
def exp_digamma_rows(
    sums: np.ndarray, rows: np.ndarray, prior: float, out: np.ndarray, n_threads: int
) -> None: ...
def exp_digamma(sums: np.ndarray, prior: float, out: np.ndarray, n_threads: int) -> None: ...
