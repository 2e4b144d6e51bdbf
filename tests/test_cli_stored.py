"""``python -m fastem topics`` of texts whose counts are many: they are in a file, not in memory."""

import json
import os
import tempfile
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.feature_extraction.text import CountVectorizer
from test_cli_topics import FILES, sentences

from fastem.__main__ import main
from fastem._cli import counts, fitting, reading, topics
from fastem._cli.counts import Counts, StoredCounts


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(fitting, "BUDGET", 0.0)
    monkeypatch.chdir(tmp_path)


def small_pieces(monkeypatch, large=0):
    monkeypatch.setattr(reading, "LARGE", large)
    monkeypatch.setattr(counts, "_ENTRIES", 60)


def counted(texts, *limits):
    """Return what Counts makes of texts, and what scikit-learn does."""
    vectorizer = CountVectorizer(
        min_df=limits[0], max_df=limits[1], max_features=limits[2], dtype=np.float32
    )
    expected = vectorizer.fit_transform(texts)
    ours, analyze = Counts(), vectorizer.build_analyzer()
    for text in texts:
        ours.add(analyze(text))
    return (*ours.finished(*limits), expected, vectorizer.get_feature_names_out().tolist())


@pytest.mark.parametrize("large", [0, 400, 10**9])
@pytest.mark.parametrize(
    "limits", [(1, 1.0, None), (2, 1.0, None), (0.05, 0.5, None), (1, 30, 7), (3, 0.9, 4)]
)
def test_counts_are_those_of_scikit_learn(limits, large, monkeypatch):
    small_pieces(monkeypatch, large)
    random = np.random.default_rng(0)
    texts = [f"{text} w{random.integers(40)} w{random.integers(9)}" for text in sentences(90)]
    texts[7] = "unique"
    X, words, expected, names = counted(texts, *limits)
    assert words == names
    assert isinstance(X, StoredCounts) == (large < 10**9)
    tokens, dense = counts.tokens_of(X), expected.toarray()
    assert_array_equal(tokens, dense.sum(axis=1))
    assert_array_equal(counts.as_csr(X).toarray(), dense)
    assert counts.as_csr(X).dtype == np.float32
    some = counts.columns_of(X, [2, 0])
    assert_array_equal(counts.as_csr(some).toarray(), dense[:, [2, 0]])
    if isinstance(X, StoredCounts):
        among = random.random(90) < 0.3
        assert_array_equal(X.csr(among).toarray(), dense[among])
        parts = list(X.blocks())
        assert len(parts) > 5
        assert all(part.has_sorted_indices for part in parts)
        # A reader that was not ended does not disturb the next one.
        begun = iter(X.blocks())
        next(begun)
        assert_array_equal(np.concatenate([part.toarray() for part in X.blocks()]), dense)


@pytest.mark.parametrize(("limits", "words"), [((2, 1.0, None), "no terms"), ((1.0, 1, None), "")])
def test_where_no_word_is_left_it_is_said(limits, words):
    ours = Counts()
    for text in ("a b", "c d"):
        ours.add(text.split())
    with pytest.raises(ValueError, match=words or "max_df corresponds to fewer"):
        ours.finished(*limits)
    with pytest.raises(ValueError, match="empty vocabulary"):
        Counts().finished(1, 1.0, None)


def test_limits_are_themselves_within():
    """A word in two of four documents, as numbers and as parts; the other ones are in 1 and 3."""
    for limits in ((2, 2, None), (0.5, 0.5, None)):
        X, words, expected, names = counted(["ones twos", "twos many", "many", "many"], *limits)
        assert words == names == ["twos"]
        assert_array_equal(X.toarray(), expected.toarray())


OPTIONS = {
    "plsa": [],
    "plsa incremental": ["--algorithm", "incremental"],
    "lda": ["--model", "lda"],
    "lda batch": ["--model", "lda", "--algorithm", "batch"],
    "compared": ["--compare"],
    "several": ["-k", "2-4"],
    "no held-out": ["--held-out", "0"],
    "vectors": ["--model", "gaussian-lda", "--vectors", "vectors.txt"],
    "few": ["--min-df", "2", "--max-words", "15"],
}
#: Whose fits to blocks are those of data in memory: they have no random numbers of each block.
SAME = {"plsa", "lda", "compared", "several", "no held-out", "vectors", "few"}


def results(folder):
    content = json.loads((folder / "docs.topics.json").read_text())
    table = (folder / "docs.documents.csv").read_text().splitlines()
    with np.load(folder / "docs.model.npz") as model:
        return content, table, model["components"]


@pytest.mark.parametrize("name", OPTIONS)
def test_the_results_are_those_of_counts_in_memory(name, monkeypatch, tmp_path, capsys):
    words = sorted({word for text in sentences(200) for word in text.split()})
    (tmp_path / "docs.txt").write_text("\n".join(["", *sentences(200), "nothing"]) + "\n")
    random = np.random.default_rng(0)
    lines = [" ".join([w, *map(str, random.normal(size=2).round(3))]) for w in words]
    (tmp_path / "vectors.txt").write_text("\n".join(lines))
    options = ["topics", "docs.txt", "-k", "3", "--seed", "1", *OPTIONS[name]]
    assert main(options) == 0
    expected, shown = results(tmp_path), capsys.readouterr().out
    made = []
    small_pieces(monkeypatch)
    begin = StoredCounts.__init__
    monkeypatch.setattr(
        StoredCounts, "__init__", lambda self, *args: made.append(self) or begin(self, *args)
    )
    assert main([*options, "--force"]) == 0
    assert made  # the counts were in a file
    found, again = results(tmp_path), capsys.readouterr()
    assert again.err == ""
    assert sorted(path.name for path in tmp_path.iterdir() if "docs." in path.name) == sorted(
        ["docs.txt", *FILES]
    )
    for key in ("n_documents", "n_words", "n_tokens", "n_documents_held_out", "n_tokens_held_out"):
        assert found[0][key] == expected[0][key]
    header, *rows = found[1]
    assert header == expected[1][0]
    assert len(rows) == 201 if name != "vectors" else 201
    if name not in SAME:
        assert found[0]["perplexity"] < found[0]["perplexity_of_frequencies"]
        return
    assert_allclose(found[2], expected[2], rtol=1e-4, atol=1e-7)
    assert [line.split(",")[:3] for line in rows] == [r.split(",")[:3] for r in expected[1][1:]]
    for key in ("perplexity", "coherence"):
        if expected[0][key] is not None:
            # Words whose probabilities are nearly equal may change places.
            assert found[0][key] == pytest.approx(expected[0][key], rel=2e-3)
    assert again.out.splitlines()[:3] == shown.splitlines()[:3]


def test_memory_does_not_grow_with_the_texts(monkeypatch, tmp_path):
    random, words = (
        np.random.default_rng(0),
        np.array([f"w{chr(97 + i)}" + 2 * "x" for i in range(26)]),
    )
    words = np.array([a + b[1:] for a in words for b in words])
    n, length = 6000, 220
    with open(tmp_path / "docs.txt", "w") as file:
        for _ in range(n):
            file.write(" ".join(words[random.integers(len(words), size=length)]) + "\n")
    monkeypatch.setattr(reading, "LARGE", 1 << 18)
    monkeypatch.setattr(counts, "_ENTRIES", 1 << 15)
    monkeypatch.setattr(topics, "_MOST_HELD_OUT", 100)
    options = ["topics", "docs.txt", "-k", "2", "--max-iter", "2", "--max-df", "1.0", "-o"]
    main([*options, "warm"])
    tracemalloc.start()
    code = main([*options, "out"])
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert code == 0
    with_counts = 8 * json.loads((tmp_path / "out/docs.topics.json").read_text())["n_tokens"]
    assert most < 0.5 * with_counts


def test_temporary_files_are_where_the_results_will_be(monkeypatch, tmp_path):
    """There is room, as for the results; the system's own folder may be in memory."""
    (tmp_path / "docs.txt").write_text("\n".join(sentences(200)))
    (tmp_path / "out").mkdir()
    small_pieces(monkeypatch)
    make, folders = tempfile.TemporaryFile, []
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda dir=None: folders.append(dir) or make(dir=dir)
    )
    assert main(["topics", "docs.txt", "-k", "2", "-o", "out/new"]) == 0
    assert len(folders) == 3 + 2  # for three results it is tried; counts, documents' topics
    assert set(folders) == {tmp_path / "out"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("number", [1, 2])
def test_a_full_disk_is_told(number, monkeypatch, tmp_path, capsys):
    """Of the counts, and of the documents' topics."""
    (tmp_path / "docs.txt").write_text("\n".join(sentences(200)))
    small_pieces(monkeypatch)
    make, made = tempfile.TemporaryFile, []

    def file(dir=None):
        made.append(dir)
        return open("/dev/full", "w+b") if len(made) == 3 + number else make(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", file)
    assert main(["topics", "docs.txt", "-k", "2", "-o", "."]) == 2
    assert f"{tmp_path}: a temporary file cannot be written (No space" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["docs.txt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_table_for_which_there_is_no_room_is_told(monkeypatch, tmp_path, capsys):
    rows = np.random.default_rng(0).normal(size=(200, 2))
    np.savetxt(tmp_path / "x.csv", rows, delimiter=",", header="a,b", comments="")
    monkeypatch.setattr(reading, "LARGE", 0)
    make, made = tempfile.TemporaryFile, []

    def file(dir=None):
        made.append(dir)
        return open("/dev/full", "w+b") if len(made) == 4 else make(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", file)
    assert main(["cluster", "x.csv", "-k", "2", "-o", "."]) == 2
    assert f"{tmp_path}: a temporary file cannot be written (No space" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
