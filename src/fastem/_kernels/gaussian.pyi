from typing import Any

import numpy as np

KINDS: tuple[str, ...]

class Job:
    def __init__(
        self,
        X: np.ndarray,
        kind: str,
        shift: np.ndarray,
        scale: np.ndarray,
        means: np.ndarray,
        precisions_chol: np.ndarray,
        log_norm: np.ndarray,
    ) -> None: ...

def moments(
    job: Job,
    sample_weight: np.ndarray | None,
    given: np.ndarray | None,
    n_threads: int,
    about_mean: bool = True,
) -> tuple[float, np.ndarray, np.ndarray, Any]: ...
def rows(
    job: Job,
    log_prob: np.ndarray | None,
    responsibilities: np.ndarray | None,
    labels: np.ndarray | None,
    n_threads: int,
) -> None: ...
def precisions_cholesky(
    scatter: np.ndarray,
    step: np.ndarray,
    weight: np.ndarray,
    divisor: np.ndarray,
    reg_covar: float,
    n_threads: int,
) -> tuple[np.ndarray, int]: ...
def covariances(precisions_cholesky: np.ndarray, n_threads: int) -> np.ndarray: ...
def instruction_set() -> str: ...
