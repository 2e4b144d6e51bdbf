"""``python -m fastem topics --model gaussian-lda``: the vectors that it reads, what it writes."""

import gzip
import json

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from fastem.__main__ import main
from fastem._cli import CommandError
from fastem._cli.corpora import with_vectors
from fastem._cli.texts import Corpus

THEMES = ("engine wheel brake motor", "flour butter oven sugar", "violin cello opera tempo")
WORDS = " ".join(THEMES).split()
VECTORS = np.repeat(np.eye(3) * 10, 4, axis=0) + np.arange(12)[:, None] % 4 * 0.1


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with documents, each of one theme."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    random = np.random.default_rng(0)
    lines = [" ".join(random.choice(THEMES[i % 3].split(), 9)) for i in range(60)]
    (tmp_path / "docs.txt").write_text("\n".join(lines))
    return tmp_path


def lines(words=WORDS, vectors=VECTORS):
    return [f"{w} {' '.join(map(str, v))}" for w, v in zip(words, vectors, strict=True)]


def corpus(words=WORDS):
    return Corpus(sp.csr_array(np.ones((2, len(words)), np.float32)), list(words), ["1", "2"])


def run(*arguments):
    """Run the command; return its exit status, 0 if it ended well."""
    try:
        return main(["topics", *arguments]) or 0
    except SystemExit as end:
        return end.code


def test_topics_are_the_themes(folder, capsys):
    (folder / "glove.txt").write_text("\n".join(["unknown 1 2 3", *lines()]))
    arguments = [
        "docs.txt",
        "-k",
        "3",
        "--model",
        "gaussian-lda",
        "--vectors",
        "glove.txt",
        "--min-df",
        "1",
    ]
    assert run(*arguments) == 0
    assert "12 of 12 words have a vector" in capsys.readouterr().out
    content = json.loads((folder / "docs.topics.json").read_text())
    assert content["model"] == "GaussianLDA"
    assert content["perplexity"] < content["perplexity_of_frequencies"]
    assert "vectors" not in content["settings"]
    found = {frozenset(topic["words"][:4]) for topic in content["topics"]}
    assert found == {frozenset(theme.split()) for theme in THEMES}
    with np.load(folder / "docs.model.npz") as model:
        components, means = model["components"], model["means"]
        assert_allclose(components.sum(axis=1), 1, rtol=1e-5)
        # rows of all arrays are the same topics
        order = [WORDS.index(word) for word in model["vocabulary"]]
        assert_allclose(components @ VECTORS[order], means, atol=0.1)
        assert model["covariances"].shape == means.shape


@pytest.mark.parametrize("name", ["v.txt", "v.vec", "v.txt.gz"])
@pytest.mark.parametrize("header", [[], ["13 3"]])
def test_text_files(folder, name, header):
    text = "\n".join([*header, *lines(["other", *WORDS[:11]], VECTORS)]) + "\n"
    (folder / name).write_bytes(gzip.compress(text.encode()) if "gz" in name else text.encode())
    found, vectors = with_vectors(corpus(), name)
    assert found.vocabulary == WORDS[:11]
    assert found.X.shape == (2, 11)
    assert_array_equal(vectors, VECTORS[1:].astype(np.float32))
    assert found.notes == ("11 of 12 words have a vector; no other is used",)


def test_arrays(folder):
    vectors = VECTORS.copy()
    vectors[3] = np.nan
    np.save("v.npy", vectors)
    found, same = with_vectors(corpus(), "v.npy")  # rows are the corpus's columns
    assert_array_equal(same, np.delete(VECTORS, 3, axis=0).astype(np.float32))
    assert WORDS[3] not in found.vocabulary
    (folder / "vocab.txt").write_text("\n".join(WORDS[::-1]))
    found, other = with_vectors(corpus(), "v.npy")
    assert_array_equal(other[0], VECTORS[-1].astype(np.float32))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("v.txt", None, "no such file"),
        ("v.txt", "engine 1 2\nwheel 1\n", "line 2: has 1 numbers where other words have 2"),
        ("v.txt", "engine 1 two\n", "line 1: is not a word and numbers"),
        ("v.txt", "bread 1 2\n", "has a vector for none of the corpus's words"),
        ("v.txt.gz", "engine 1 2\n", "cannot be read"),
        ("v.npy", "engine", "not a .npy file of numbers"),
        ("v.npy", np.zeros(3), r"holds float64 of shape \(3,\)"),
        ("v.npy", np.zeros((3, 2)), "has 3 rows for 12 words"),
    ],
)
def test_bad_vectors_name_themselves(folder, name, content, words):
    if isinstance(content, str):
        (folder / name).write_text(content)
    elif content is not None:
        np.save(name, content)
    with pytest.raises(CommandError, match=words):
        with_vectors(corpus(), name)


@pytest.mark.parametrize("arguments", [["--model", "gaussian-lda"], ["--vectors", "v.txt"]])
def test_model_and_vectors_go_together(folder, arguments, capsys):
    assert run("docs.txt", *arguments) != 0
    assert "go together" in capsys.readouterr().err
    assert not list(folder.glob("*.json"))
