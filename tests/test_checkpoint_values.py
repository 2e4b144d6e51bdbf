"""What a checkpoint can hold: bit for bit, and reading it runs nothing."""

import sys
from collections import namedtuple
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from test_checkpoints import bits

from fastem import (
    em,
)
from fastem._engine import checkpoints
from fastem._engine.codec import Decoder, Encoder


class Named(NamedTuple):
    a: object
    b: object


@dataclass(frozen=True)
class Data:
    a: object


def again(value, known=None):
    encoder = Encoder()
    root = encoder.encode(value)
    left = list(encoder.arrays)

    def fill(array):
        array[...] = left.pop(0)

    return Decoder(encoder.nodes, fill, known or {}).decode(root)


def test_values_come_back_bit_for_bit():
    array = np.arange(24.0).reshape(4, 6)
    values = [
        None, True, 3, -(10**30), 0.1, float("nan"), -np.inf, "text", (1, 2.5), [array, array.T],
        {"k": 1.0, 3: (None,)}, Named(array[:, :2], array[::2, 1:5]), Data(np.float32(0.1)),
        np.dtype("f4"), np.int64(3), np.array(5), np.zeros((0, 3)), np.array([True, False]),
        np.asfortranarray(array), np.broadcast_to(np.float64(2), (3,)), array[::-1],
    ]  # fmt: skip
    for value in values:
        back = again(value)
        assert bits(back) == bits(value)
        assert type(back) is type(value)
    assert again(array.T).flags.f_contiguous
    assert again(array[:, :2]).strides == array[:, :2].strides


def test_one_object_is_one_object_again():
    array = np.arange(3.0)
    both = Named(array, array)
    first, second, inner = again([array, both, [both]])
    assert first is second.a is second.b
    assert inner[0] is second


def test_classes_that_a_function_defines_are_found_in_the_start():
    Local = namedtuple("Local", "mean")

    class Mean:
        def e_step(self, params, x):
            bound = -((x - params.mean) ** 2).sum()
            return em.Statistics(bound=bound, weight=len(x), total=x.sum())

        def m_step(self, statistics):
            return Local(0.5 * statistics.total / statistics.weight)

    with pytest.raises(ValueError, match="there is no class"):
        again(Mean().m_step(Mean().e_step(Local(0.0), np.ones(3)))._replace())
    known = checkpoints.classes_in((Local(1.0),))
    assert again(Local(2.0), known) == Local(2.0)


def test_what_cannot_be_written_is_said_before_any_work(tmp_path):
    class Odd:
        pass

    class Model:
        def e_step(self, params, x):
            raise AssertionError("work")

        def m_step(self, statistics):
            raise AssertionError("work")

    with pytest.raises(TypeError, match=r"a checkpoint cannot have a .*Odd: let parameters"):
        em.fit(Model(), [np.ones(3)], Odd(), checkpoint=tmp_path / "fit")
    with pytest.raises(TypeError, match=r"cannot have a numpy.ndarray"):
        em.fit(Model(), [np.ones(3)], np.array([Odd()]), checkpoint=tmp_path / "fit")


def test_reading_imports_nothing_and_makes_no_other_objects():
    assert "antigravity" not in sys.modules
    for kind in ("named", "data"):
        for name in ("antigravity:fly", "os:system", "subprocess:Popen", "builtins:eval"):
            with pytest.raises(ValueError, match=r"no class|is no|no named"):
                Decoder([[kind, name, []]], None, {})
    assert "antigravity" not in sys.modules
    with pytest.raises(KeyError):
        Decoder([["object", "os:system", ["true"]]], None, {})
