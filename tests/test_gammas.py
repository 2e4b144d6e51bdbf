"""NumPy's legacy gamma variates from our own stream: the same bits, and the same state after it."""

import platform
import threading

import numpy as np
import pytest
from fastem._kernels.gamma_stream import GammaStream
from numpy.testing import assert_array_equal
from scipy import sparse

from fastem import LatentDirichletAllocation
from fastem.topics import gammas

exactly = pytest.mark.skipif(
    not gammas._is_exact(), reason="this build rounds otherwise than NumPy's, which draws itself"
)


def moved(seed, n_words, gauss):
    """Return a RandomState that gave some words and, if `gauss`, keeps a normal variate."""
    random_state = np.random.RandomState(seed)
    random_state.randint(0, 2**32, n_words, dtype=np.uint32)
    if gauss:
        random_state.standard_normal()
    return random_state


class Other(np.random.RandomState):
    """The same numbers, but nobody else can know that."""


def same_state(first, second):
    a, b = first.get_state(legacy=False), second.get_state(legacy=False)
    assert_array_equal(a["state"].pop("key"), b["state"].pop("key"))
    assert a == b


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("gauss", [False, True])
@pytest.mark.parametrize("n_words", [0, 1, 2, 3, 622, 623, 624, 625, 1247, 1248])
def test_the_same_bits_and_state(n_words, gauss, dtype):
    """Wherever a number's two words lie, in one block or in two."""
    numpys, ours = moved(n_words, n_words, gauss), moved(n_words, n_words, gauss)
    for shape in ((1, 1), (3, 5), (1, 311), (130, 7), (2, 624)):
        out = np.empty(shape, dtype)
        gammas.fill_gammas(ours, out)
        assert_array_equal(out, numpys.gamma(100.0, 0.01, shape).astype(dtype))
        same_state(ours, numpys)
    assert ours.standard_normal() == numpys.standard_normal()


@exactly
@pytest.mark.parametrize("shape", [1.01, 1.5, 4.0, 100.0, 1e4, 1e8])
def test_other_shapes(shape):
    """Where the bound that spares logarithms decides little, and where it decides all."""
    numpys = np.random.RandomState(3)
    stream = GammaStream(numpys.get_state(legacy=False), shape, 2.0)
    out = np.empty((100, 1000))
    stream.fill(out)
    assert_array_equal(out, numpys.gamma(shape, 2.0, out.shape))
    numpys.set_state(stream.state)
    assert_array_equal(stream.state["state"]["key"], numpys.get_state()[1])


def test_nothing_to_fill():
    numpys = np.random.RandomState(0)
    for shape in ((0, 3), (3, 0)):
        gammas.fill_gammas(numpys, np.empty(shape))
    same_state(numpys, np.random.RandomState(0))


def pcg64(seed):
    return np.random.RandomState(np.random.PCG64(seed))


@pytest.mark.parametrize("make", [Other, pcg64])
def test_other_generators_draw_themselves(make):
    out = np.empty((4, 3))
    with gammas.gamma_stream(make(5), out) as stream:
        assert stream is None
    assert_array_equal(out, make(5).gamma(100.0, 0.01, (4, 3)))


def test_a_build_that_rounds_otherwise_leaves_it_to_numpy(monkeypatch):
    """The check can fail: a stream of other numbers is found out."""

    class Fused(GammaStream):
        def fill(self, out):
            super().fill(out)
            out[0, 1234] = np.nextafter(out[0, 1234], 0)

    if platform.machine() in ("x86_64", "AMD64"):  # where nothing can be fused
        assert gammas._is_exact()
    monkeypatch.setattr(gammas, "GammaStream", Fused)
    gammas._is_exact.cache_clear()
    try:
        out = np.empty((4, 3))
        with gammas.gamma_stream(np.random.RandomState(0), out) as stream:
            assert stream is None
        assert_array_equal(out, np.random.RandomState(0).gamma(100.0, 0.01, (4, 3)))
    finally:
        gammas._is_exact.cache_clear()


@exactly
def test_what_was_taken_counts_although_the_work_failed():
    numpys, ours = np.random.RandomState(1), np.random.RandomState(1)
    out = np.empty((3, 4))

    def fail():
        with gammas.gamma_stream(ours, out) as stream:
            stream.fill(out)
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()
    numpys.gamma(100.0, 0.01, (3, 4))
    same_state(ours, numpys)


@exactly
def test_nobody_else_draws_meanwhile():
    """Threads that share a RandomState never get the same numbers."""
    shared, drawn = np.random.RandomState(2), []

    def draw():
        drawn.append(shared.random_sample())

    other = threading.Thread(target=draw)
    out = np.empty((3, 4))
    with gammas.gamma_stream(shared, out) as stream:
        other.start()
        other.join(0.05)
        assert drawn == []
        stream.fill(out)
    other.join()
    numpys = np.random.RandomState(2)
    numpys.gamma(100.0, 0.01, (3, 4))
    assert drawn == [numpys.random_sample()]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_jobs", [1, 2, 4])
def test_documents_get_their_gamma_in_order(n_jobs, dtype):
    """Whichever thread draws it; in a fit, and in the next one from the same RandomState."""
    rng = np.random.default_rng(0)
    X = sparse.csr_array(rng.poisson(0.3, (2000, 60)).astype(dtype))
    fits = []
    for random_state in (np.random.RandomState(4), Other(4)):
        lda = LatentDirichletAllocation(
            20, max_iter=2, n_jobs=n_jobs, random_state=random_state, max_doc_update_iter=5
        )
        fits.append((lda.fit(X).components_, lda.fit(X).components_, random_state))
    assert_array_equal(fits[0][0], fits[1][0])
    assert_array_equal(fits[0][1], fits[1][1])
    same_state(fits[0][2], fits[1][2])
    assert np.any(fits[0][0] != fits[0][1])
