"""``python -m fastem topics``: the corpora it reads, what it measures, prints and writes."""

import gzip
import io
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from fastem import PLSA
from fastem.__main__ import main
from fastem._cli import docstrings, fitting
from fastem.select.documents import divided

FILES = ["docs.documents.csv", "docs.model.npz", "docs.topics.json"]
THEMES = (
    "engine wheel brake motor clutch tyre",
    "flour butter oven sugar yeast dough",
    "violin cello opera tempo chord melody",
)


def sentences(n=60, seed=0):
    """Lines of words from one theme each."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(THEMES[i % 3].split(), 12)) for i in range(n)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(fitting, "BUDGET", 0.0)
    monkeypatch.setattr(docstrings, "MAX_BYTES", 500_000)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def docs(folder):
    """The name of a text file with a document a line, and a blank one."""
    (folder / "docs.txt").write_text("\n".join(["", *sentences()]) + "\n")
    return "docs.txt"


@pytest.fixture
def counts(folder):
    """A matrix of counts, saved as docs.npz."""
    X = sp.csr_array(np.random.default_rng(0).poisson(0.5, size=(40, 30)))
    sp.save_npz("docs.npz", X)
    return X


def names(folder):
    """Names of what is in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


# ---- what it writes and prints ------------------------------------------------------------------


def test_text_file(docs, folder, capsys):
    assert main(["topics", docs, "-k", "3", "--seed", "2", "--compare"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80
    assert "60 documents, 720 words of which 18 different" in out
    assert re.search(r"[\d.]+ +on \d+ words: half of each of 6 documents", out)
    assert re.search(r"coherence +-?\d\.\d\d", out)
    assert "20 iterations, 60 × 18, K = 3; " in out
    assert re.search(r"scikit-learn \S+ +[\d.]+ [mµ]?s", out)
    assert names(folder) == sorted([docs, *FILES])

    content = json.loads((folder / "docs.topics.json").read_text())
    assert content["n_documents"] == 60
    assert content["n_documents_held_out"] == 6
    assert content["settings"]["random_state"] == 2
    assert len(content["lower_bounds"]) == content["n_iter"]
    assert content["perplexity"] < content["perplexity_of_frequencies"] < 20
    with np.load(folder / "docs.model.npz") as model:
        components, vocabulary = model["components"], model["vocabulary"].tolist()
    assert content["vocabulary"] == vocabulary == sorted(" ".join(THEMES).split())
    assert_allclose(components.sum(axis=1), 1, rtol=1e-5)

    lines = (folder / "docs.documents.csv").read_text().splitlines()
    table = np.loadtxt(lines[1:], delimiter=",")
    assert lines[0] == "document,words,topic,topic_0,topic_1,topic_2"
    assert_array_equal(table[:, 0], np.arange(2, 62))  # line 1 is blank
    assert_array_equal(table[:, 1], 12)
    assert_array_equal(table[:, 2], table[:, 3:].argmax(axis=1))
    assert_allclose(table[:, 3:].sum(axis=1), 1, atol=1e-4)
    shares = [topic["share"] for topic in content["topics"]]
    assert_allclose(table[:, 3:].mean(axis=0), shares, atol=1e-4)
    assert shares == sorted(shares, reverse=True)
    found = set()
    for k, topic in enumerate(content["topics"]):
        order = [vocabulary.index(word) for word in topic["words"]]
        assert_array_equal(np.float32(topic["weights"]), components[k, order])
        theme = next(i for i, theme in enumerate(THEMES) if topic["words"][0] in theme)
        assert set(topic["words"][:6]) == set(THEMES[theme].split())
        assert_array_equal(np.flatnonzero(table[:, 2] == k) % 3, theme)
        assert re.search(rf"^ +{k} +{topic['share']:.1%} +{topic['words'][0]} 0\.\d", out, re.M)
        found.add(theme)
    assert found == {0, 1, 2}


def test_what_is_written_is_what_the_estimator_finds(counts, folder):
    options = ["--algorithm", "incremental", "--max-iter", "30", "--held-out", "0"]
    assert main(["topics", "docs.npz", "-k", "2", *options, "--doc-topic-prior", "0.5"]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = PLSA(
            2,
            algorithm="incremental",
            max_iter=30,
            tol=1e-4,
            doc_topic_prior=0.5,
            topic_word_prior=0.01,
            random_state=0,
        ).fit(counts.astype(np.float32))
    content = json.loads((folder / "docs.topics.json").read_text())
    assert_array_equal(content["lower_bounds"], model.lower_bounds_)
    assert content["perplexity"] is None
    assert content["n_documents_held_out"] == 0
    with np.load(folder / "docs.model.npz") as saved:
        components = saved["components"]
    order = np.argsort(-(counts.sum(axis=1) @ model.transform(counts.astype(np.float32))))
    assert_allclose(components, model.components_[order], rtol=1e-6)


@pytest.mark.parametrize("algorithm", [None, "stochastic", "batch", "incremental"])
def test_latent_dirichlet_allocation(docs, folder, capsys, algorithm):
    """The same files and sections, for a model whose components are not probabilities."""
    options = [] if algorithm is None else ["--algorithm", algorithm]
    assert main(["topics", docs, "--model", "lda", "-k", "3", "--compare", *options]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80
    assert "2 iterations, 60 × 18, K = 3; " in out
    assert "the bounds that they reach agree" in out
    assert re.search(r"every 5 iterations\n +[▁-█]", out)
    assert names(folder) == sorted([docs, *FILES])
    content = json.loads((folder / "docs.topics.json").read_text())
    assert content["model"] == "LatentDirichletAllocation"
    assert content["settings"]["learning_method"] == (algorithm or "cvb0")
    assert content["perplexity"] < content["perplexity_of_frequencies"]
    with np.load(folder / "docs.model.npz") as model:
        components, vocabulary = model["components"], model["vocabulary"].tolist()
    assert_allclose(components.sum(axis=1), 1, rtol=1e-5)
    for k, topic in enumerate(content["topics"]):
        order = [vocabulary.index(word) for word in topic["words"]]
        assert_array_equal(np.float32(topic["weights"]), components[k, order])


def test_an_algorithm_of_the_other_model(docs, capsys):
    assert main(["topics", docs, "--algorithm", "cvb0"]) == 2
    message = "--algorithm cvb0 is not one of plsa's: take batch, incremental"
    assert capsys.readouterr().err == f"fastem: error: {message}\n"


def test_existing_files_are_kept_unless_forced(docs, folder, capsys):
    (folder / "docs.model.npz").write_text("mine")
    assert main(["topics", docs]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastem: error: docs.model.npz: exists already; add --force")
    assert names(folder) == ["docs.model.npz", docs]
    assert main(["topics", docs, "-k", "2", "--force"]) == 0
    assert names(folder) == sorted([docs, *FILES])


def test_output_dir(docs, folder):
    assert main(["topics", docs, "-k", "2", "-o", "made/here"]) == 0
    assert names(folder / "made/here") == FILES


def test_same_seed_same_files(docs, folder):
    for output in ("a", "b"):
        assert (
            main(["topics", docs, "-k", "3", "--n-jobs", str(1 + (output == "b")), "-o", output])
            == 0
        )
    for name in FILES:
        a, b = ((folder / output / name).read_bytes() for output in ("a", "b"))
        assert a.replace(b'"n_jobs": 1', b"") == b.replace(b'"n_jobs": 2', b"")


def test_not_converged_and_not_measured(folder, capsys):
    (folder / "few.txt").write_text("\n".join(sentences(9)))
    assert main(["topics", "few.txt", "-k", "2", "--max-iter", "2", "--tol", "0"]) == 0
    out = capsys.readouterr().out
    assert "NOT converged after 2 iterations" in out
    assert "not measured" in out
    assert json.loads((folder / "few.topics.json").read_text())["perplexity"] is None


# ---- what it reads ------------------------------------------------------------------------------


def read(source, *options):
    """Read a corpus by the command; return its counts, words and documents' names."""
    assert main(["topics", source, "-k", "1", "-f", "-o", "out", "--held-out", "0", *options]) == 0
    content = json.loads(Path("out", f"{source.split('.')[0]}.topics.json").read_text())
    lines = Path("out", f"{source.split('.')[0]}.documents.csv").read_text().splitlines()[1:]
    return (
        content,
        [int(line.split(",")[1]) for line in lines],
        [line.split(",")[0] for line in lines],
    )


def test_gzip(docs, folder):
    (folder / "packed.txt.gz").write_bytes(gzip.compress((folder / docs).read_bytes()))
    plain, packed = read(docs), read("packed.txt.gz")
    assert plain[1:] == packed[1:]
    assert plain[0]["vocabulary"] == packed[0]["vocabulary"]


def test_counting(folder):
    (folder / "x.md").write_text("The CAT, the cat_dog\ncat2dog it's\n\nthe dög dög rare\ncat\n")
    content, n_words, documents = read("x.md", "--max-df", "1")
    assert content["vocabulary"] == ["cat", "dog"]  # two documents; no digits, no stop words
    assert n_words == [3, 2, 0, 1]
    assert documents == ["1", "2", "4", "5"]
    content, *_ = read("x.md", "--min-df", "1", "--max-df", "0.5", "--stop-words", "none")
    assert content["vocabulary"] == ["dog", "dög", "rare", "the"]
    content, *_ = read("x.md", "--min-df", "1", "--max-words", "1", "--max-df", "1")
    assert content["vocabulary"] == ["cat"]


def test_folder(folder, capsys):
    inside = folder / "texts/sub"
    inside.mkdir(parents=True)
    for i, line in enumerate(sentences(12)):
        (inside / f"{i:02}.txt").write_text(line)
    (folder / "texts/a, b.txt").write_text(THEMES[0])
    (folder / "texts/.hidden").write_text(THEMES[1])
    (folder / "texts/blank.txt").write_text("\n")
    (folder / "texts/z.txt.gz").write_bytes(gzip.compress(THEMES[2].encode()))
    (folder / "texts/picture.png").write_bytes(b"\x89PNG\xff")
    (folder / "texts/zeros.bin").write_bytes(b"abc\0def")
    assert main(["topics", "texts", "-k", "3"]) == 0
    assert "2 files skipped that are not text" in capsys.readouterr().out
    lines = (folder / "texts.documents.csv").read_text().splitlines()[1:]
    assert lines[0].startswith('"a, b.txt",6,')
    assert [line.split(",")[0] for line in lines[1:]] == [
        *(f"sub/{i:02}.txt" for i in range(12)),
        "z.txt.gz",
    ]


def test_matrix(counts, folder, capsys):
    content, n_words, _ = read("docs.npz")
    assert n_words == counts.sum(axis=1).tolist()
    assert content["vocabulary"] == [f"w{j}" for j in range(30)]
    assert "no vocab.txt" in capsys.readouterr().out
    (folder / "vocab.txt").write_text("".join(f"word{j}\n" for j in range(30)))
    assert read("docs.npz")[0]["vocabulary"] == [f"word{j}" for j in range(30)]
    (folder / "mine.txt").write_text("\r\n".join(f"term {j}" for j in range(30)))
    content, *_ = read("docs.npz", "--vocab", "mine.txt")
    assert content["vocabulary"] == [f"term {j}" for j in range(30)]
    (folder / "vocab.txt").write_text("of\nanother\n")
    capsys.readouterr()
    assert read("docs.npz")[0]["vocabulary"][0] == "w0"
    assert "vocab.txt has 2 lines where docs.npz has 30 columns" in capsys.readouterr().out


def matrix(array):
    """Return the bytes of a saved sparse matrix."""
    buffer = io.BytesIO()
    sp.save_npz(buffer, sp.csr_array(np.atleast_2d(array)))
    return buffer.getvalue()


BAD = {
    "missing": ("nope.txt", None, "", "nope.txt: no such file"),
    "empty": ("x.txt", b"", "", "x.txt: holds no document"),
    "blank": ("x.txt", b"\n \n", "", "x.txt: holds no document"),
    "stop words": (
        "x.txt",
        b"the\nthe\n",
        "",
        "x.txt: no word is left of 2 documents; lower --min",
    ),
    "rare words": ("x.txt", b"one cat\n", "", "x.txt: no word is left of 1 document; "),
    "binary": ("x.txt", b"\x89PNG\xff", "", "x.txt: is not UTF-8 text"),
    "zeros": ("x.txt", b"a\0b", "", "x.txt: is not UTF-8 text"),
    "not gzip": ("x.gz", b"a cat", "", "x.gz: cannot be read"),
    "not npz": ("x.npz", b"a cat", "", "x.npz: is not a matrix that scipy.sparse.save_npz wrote"),
    "no bytes": ("x.npz", b"", "", "x.npz: "),
    "negative": ("x.npz", matrix([[1, 0], [0, -2]]), "", "x.npz, row 2, column 2: -2 is not a co"),
    "nan": ("x.npz", matrix([[1, np.nan]]), "", "x.npz, row 1, column 2: nan is not a count"),
    "complex": ("x.npz", matrix([[1j, 2]]), "", "x.npz: holds complex128"),
    "zero": ("x.npz", matrix([[0, 0]]), "", "x.npz: has no count above 0"),
    "no vocabulary": ("x.npz", matrix([[1, 2]]), "--vocab v", "v: no such file"),
    "short vocabulary": ("x.npz", matrix([[1, 2]]), "--vocab one", "one: has 1 line where x.npz h"),
    "vocabulary of text": ("x.txt", b"a cat\n", "--vocab one", "--vocab names the columns of a .n"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(case, folder, capsys):
    name, content, options, message = BAD[case]
    (folder / "one").write_text("word\n")
    if content is not None:
        (folder / name).write_bytes(content)
    before = names(folder)
    assert main(["topics", name, *options.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(f"^fastem: error: .*{message}.*\\n$", err)
    assert err.count("\n") == 1
    assert names(folder) == before


def test_empty_folder(folder, capsys):
    (folder / "texts").mkdir()
    assert main(["topics", "texts"]) == 2
    assert capsys.readouterr().err == "fastem: error: texts: holds no document\n"
    assert main(["topics", "--vocab", "x"]) == 2


@pytest.mark.parametrize(
    "options",
    [
        ["-k", "0"],
        ["-k", "4-2"],
        ["--algorithm", "online"],
        ["--token-pattern", "("],
        ["--held-out", "1"],
        ["--max-df", "0"],
        ["--min-df", "0"],
        ["--words", "some"],
        ["--topic-word-prior", "-1"],
        ["x.txt", "y.txt"],
    ],
)
def test_wrong_usage_is_one_line(options, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["topics", *options])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert re.fullmatch(r"fastem: error: .+ \(try 'python -m fastem.* --help'\)\n", err)


# ---- held-out words, time -----------------------------------------------------------------------


def test_what_is_measured_is_what_the_library_measures(counts, folder):
    options = ["--held-out", "0.25", "--seed", "3", "--tol", "1e-3", "--max-iter", "50"]
    assert main(["topics", "docs.npz", "-k", "3", *options]) == 0
    content = json.loads((folder / "docs.topics.json").read_text())
    X = counts.astype(np.float32)
    train, observed, held = divided(X, 0.25, np.random.RandomState(3))
    assert sorted(map(tuple, np.vstack([train.toarray(), (observed + held).toarray()]))) == sorted(
        map(tuple, X.toarray())
    )  # the halves are whole documents again
    assert 0.3 < observed.sum() / (observed + held).sum() < 0.7
    model = PLSA(3, max_iter=50, tol=1e-3, doc_topic_prior=0.1, topic_word_prior=0.01,
                 random_state=3).fit(train)  # fmt: skip
    p = model.transform(observed).astype(float) @ model.components_
    n = held.toarray()
    assert_allclose(content["perplexity"], np.exp(-(n * np.log(p)).sum() / n.sum()), rtol=1e-5)
    assert (content["n_documents_held_out"], content["n_tokens_held_out"]) == (10, n.sum())
    frequency = train.toarray().sum(axis=0) + 0.5
    logs = np.log(frequency / frequency.sum())
    expected = np.exp(-(n * logs).sum() / n.sum())
    assert_allclose(content["perplexity_of_frequencies"], expected, rtol=1e-5)
    coherence = model.coherence(train)
    assert_allclose(content["coherence"], coherence[np.isfinite(coherence)].mean(), rtol=1e-6)


def test_counts_that_are_no_integers_are_not_measured(folder, capsys):
    sp.save_npz("x.npz", sp.csr_array(np.random.default_rng(0).uniform(0.1, 3, size=(20, 7))))
    assert main(["topics", "x.npz", "-k", "2"]) == 0
    assert "not measured" in capsys.readouterr().out
    assert json.loads((folder / "x.topics.json").read_text())["perplexity"] is None
    assert main(["topics", "x.npz", "-k", "2,3", "-f"]) == 2
    assert "or fractions of words: give one number" in capsys.readouterr().err


# ---- docstrings ---------------------------------------------------------------------------------


def test_docstrings_are_many_and_always_the_same():
    found = docstrings.documents()
    docstrings.documents.cache_clear()
    assert docstrings.documents() == found
    texts = [text for _, text in found]
    assert len(texts) > 50
    assert len(set(texts)) == len(texts)
    assert min(len(text.split()) for text in texts) >= 20
    assert not any(">>>" in text for text in texts)


def test_broken_source_is_passed_over():
    assert list(docstrings._docstrings(b"def broken(:", "m")) == []
    text = "word " * 20
    source = f'class A:\n  """{text}"""\n  def f(self):\n    """{text}"""\n  def g(self): pass\n'
    assert [name for name, _ in docstrings._docstrings(source.encode(), "m")] == ["m.A", "m.f"]


def test_without_a_file(folder, capsys):
    assert main(["topics", "-k", "4", "--max-iter", "5"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Docstrings of Python 3.")
    assert (err, names(folder), "Written" in out) == ("", [], False)
    assert main(["topics", "-k", "4", "--max-iter", "5", "-o", "."]) == 0
    assert names(folder) == [name.replace("docs", "docstrings", 1) for name in FILES]
