from typing import Any

import numpy as np

class Job:
    def __init__(
        self,
        X: Any,
        centers: np.ndarray,
        shift: np.ndarray,
        scale: float,
        sample_weight: np.ndarray | None = None,
    ) -> None: ...

def assign(
    job: Job,
    labels: np.ndarray,
    n_threads: int,
    sums: bool = False,
    moves: bool = False,
    bounds: dict[str, Any] | None = None,
) -> tuple[Any, Any, Any, Any]: ...
def distances(
    job: Job, labels: np.ndarray, n_threads: int, out: np.ndarray | None = None
) -> float: ...
