"""Arrays that begin at a line of the cache."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastem import PLSA
from fastem._engine import arrays
from fastem.topics import documents


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
@pytest.mark.parametrize("shape", [(3, 16), (1000, 24), (0, 8), (7,)])
def test_arrays_begin_at_a_line(shape, dtype):
    given = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    for array in (arrays.empty(shape, dtype), arrays.zeros(shape, dtype), arrays.copy(given)):
        assert array.shape == shape
        assert array.dtype == dtype
        assert array.size == 0 or array.ctypes.data % 64 == 0
        assert array.flags.c_contiguous
        assert array.flags.writeable
    assert not arrays.zeros(shape, dtype).any()
    assert_array_equal(arrays.copy(given), given)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_topics_are_such_arrays(monkeypatch):
    """Those of documents, and the sums of words: what the kernels read again and again."""
    seen = []
    e_step, job = documents.kernel.e_step, documents.kernel.Job

    def watched(job, doc_topic, *args, **settings):
        seen.append(doc_topic)
        return e_step(job, doc_topic, *args, **settings)

    def made(counts, n_topics, topics, *args):
        seen.append(topics)
        return job(counts, n_topics, topics, *args)

    monkeypatch.setattr(documents.kernel, "e_step", watched)
    monkeypatch.setattr(documents.kernel, "Job", made)
    X = np.random.default_rng(0).poisson(1.0, (20, 30))
    for algorithm in ("batch", "incremental"):
        PLSA(5, algorithm=algorithm, batch_size=7, max_iter=3, tol=0, random_state=0).fit(X)
    assert len(seen) > 10
    assert all(array.ctypes.data % 64 == 0 for array in seen)
