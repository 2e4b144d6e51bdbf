import numpy as np

class Job:
    def __init__(
        self,
        begin: np.ndarray | None,
        index: np.ndarray,
        value: np.ndarray | None,
        offset: np.ndarray | None,
        n_samples: int,
        table: np.ndarray,
        bias: np.ndarray,
    ) -> None: ...

def width(n_components: int) -> int: ...
def sums(
    job: Job, sample_weight: np.ndarray | None, n_threads: int
) -> tuple[float, np.ndarray, np.ndarray]: ...
def rows(
    job: Job,
    log_prob: np.ndarray | None,
    responsibilities: np.ndarray | None,
    labels: np.ndarray | None,
    n_threads: int,
) -> None: ...
def inspect(
    X: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]: ...
def encode(
    X: np.ndarray,
    group: np.ndarray,
    stride: np.ndarray,
    missing: np.ndarray,
    first: np.ndarray,
    codes: np.ndarray,
) -> None: ...
