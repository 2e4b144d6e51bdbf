"""Every model of ``cluster``, what it says of a table, and ``predict``."""

import io
import json
import re
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris

from fastem import (
    BayesianGaussianMixture,
    BernoulliMixture,
    CategoricalMixture,
    GaussianHMM,
    GaussianMixture,
    KMeans,
    PoissonMixture,
)
from fastem.__main__ import main
from fastem._cli.models import MODELS
from fastem._cli.outputs import safe_cell
from fastem._cli.reading import Wanted, read_table

pytest.importorskip("skops")

X = load_iris().data
RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(np.repeat([[2.0, 9.0], [8.0, 1.0]], 40, axis=0)).astype(float)
BITS = (RNG.random((80, 5)) < np.repeat([[0.1] * 5, [0.9] * 5], 40, axis=0)).astype(float)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory, and a terminal of eighty columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_csv(name, rows, header=None):
    lines = [",".join(map(str, row)) for row in rows]
    with open(name, "w", encoding="utf-8") as file:
        file.write("\n".join([*([",".join(header)] if header else []), *lines]) + "\n")


def labels_of(path):
    """Return the labels and the values of a file of labels."""
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split(",") for line in file][1:]
    return np.array([int(row[1]) for row in rows]), np.array([float(row[2]) for row in rows])


# ---- models -------------------------------------------------------------------------------------


CASES = {
    "mixture": (X, GaussianMixture(3, random_state=0)),
    "bayesian": (X, BayesianGaussianMixture(3, random_state=0)),
    "bernoulli": (BITS, BernoulliMixture(3, tol=1e-3, max_iter=100, random_state=0)),
    "poisson": (COUNTS, PoissonMixture(3, tol=1e-3, max_iter=100, random_state=0)),
    "hmm": (X, GaussianHMM(3, covariance_type="full", min_covar=1e-6, n_iter=100, tol=1e-3,
                           random_state=0)),
    "kmeans": (X, KMeans(3, tol=1e-3, max_iter=100, n_init=1, random_state=0)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_model_is_the_estimator_s_and_serves_new_rows(name, folder, capsys):
    """What is written is what the estimator finds; predict gives the same labels again."""
    data, estimator = CASES[name]
    np.save("x.npy", data)
    assert main(["cluster", "x.npy", "-k", "3", "--model", name]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80
    estimator.fit(data)
    content = json.loads((folder / f"x.{name}.json").read_text())
    values = getattr(estimator, MODELS[name].values)
    assert_array_equal(content[MODELS[name].values.rstrip("_")], values)
    assert content["n_iter"] == estimator.n_iter_
    assert content["model"] == name
    labels, _ = labels_of("x.labels.csv")
    assert_array_equal(labels, estimator.predict(data))
    assert_array_equal(content["sizes"], np.bincount(labels))

    np.save("new.npy", data[::7])
    assert main(["predict", f"x.{name}.skops", "new.npy"]) == 0
    found, said = labels_of("new.labels.csv")
    assert_array_equal(found, estimator.predict(data[::7]))
    if name == "kmeans":
        assert_allclose(said, estimator.transform(data[::7]).min(axis=1), rtol=1e-5)
    elif name != "hmm":
        assert_allclose(said, estimator.predict_proba(data[::7]).max(axis=1), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "criterion", "best"),
    [("mixture", "icl", 2), ("bayesian", None, None), ("kmeans", None, 2), ("kmeans", "gap", None),
     ("bernoulli", None, 2),
     ("poisson", "bic", 2), ("hmm", None, None)],
)  # fmt: skip
def test_several_numbers_are_compared(name, criterion, best, folder, capsys):
    np.save("x.npy", CASES[name][0])
    options = [] if criterion is None else ["--criterion", criterion]
    assert main(["cluster", "x.npy", "-k", "1-4" if criterion == "gap" else "2-4",
                 "--model", name, *options]) == 0  # fmt: skip
    out, err = capsys.readouterr()
    assert err == ""
    assert len(re.findall("◀ (lowest|highest)", out)) == 1
    content = json.loads((folder / f"x.{name}.json").read_text())
    assert content["criterion"] == (criterion or MODELS[name].criteria[0])
    assert len(content["candidates"]) == (4 if criterion == "gap" else 3)
    if best is not None:
        assert len(content[MODELS[name].values.rstrip("_")]) == best


def test_all_covariance_types_are_compared(folder, capsys):
    np.save("x.npy", X)
    assert main(["cluster", "x.npy", "-k", "2,3", "--covariance", "all"]) == 0
    out = capsys.readouterr().out
    for kind in ("full", "tied", "diag", "spherical"):
        assert len(re.findall(rf"^ +[23] +{kind} ", out, re.MULTILINE)) == 2
    content = json.loads((folder / "x.mixture.json").read_text())
    scores = {(r["n_components"], r["covariance_type"]): r["bic"] for r in content["candidates"]}
    best = min(scores, key=scores.get)
    assert (len(content["weights"]), content["settings"]["covariance_type"]) == best


def test_categories_are_words(folder, capsys):
    colors = np.array(["red", "green", "blue"])[RNG.integers(0, 3, 60)]
    write_csv("x.csv", zip(colors, RNG.integers(1, 12, 60), strict=True), ["color", "month"])
    assert main(["cluster", "x.csv", "-k", "2", "--model", "categorical"]) == 0
    content = json.loads((folder / "x.categorical.json").read_text())
    months = sorted({int(name) for name in content["categories"][1]})
    assert content["categories"][0] == ["blue", "green", "red"]
    assert content["categories"][1] == [str(month) for month in months]  # not 1, 10, 11, 2
    table = read_table("x.csv", Wanted(categories=True))
    expected = CategoricalMixture(
        2, n_categories=[3, len(months)], max_iter=100, tol=1e-3, random_state=0
    ).fit(table.X)
    assert_array_equal(content["probabilities"], expected.probabilities_)
    assert re.search(r"blue|green|red", capsys.readouterr().out)
    write_csv("new.csv", [("red", 3), ("pink", 4)], ["color", "month"])
    assert main(["predict", "x.categorical.skops", "new.csv"]) == 2
    assert capsys.readouterr().err == (
        "fastem: error: new.csv, line 3, column 1 (color): 'pink' is no category of the model, "
        "which has blue, green, red\n"
    )
    write_csv("new.csv", [("red", 3)], ["color", "month"])
    assert main(["predict", "x.categorical.skops", "new.csv"]) == 0
    codes = [[2.0, content["categories"][1].index("3")]]
    assert labels_of("new.labels.csv")[0] == expected.predict(codes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "poisson"], "row 1 of data, column x1: 5.1 is no count"),
        (["--model", "bernoulli"], "row 1 of data, column x1: 5.1 is neither 0 nor 1"),
        (["--model", "hmm", "--criterion", "icl"], "hmm's: bic, aic, cv"),
        (["--model", "bernoulli", "--standardize"], "would change the binary"),
        (["--model", "bayesian", "--criterion", "bic"], "bayesian's: cv"),
        (["--model", "hmm", "--compare"], "is for --model mixture and kmeans"),
        (["--exclude", "1-4"], "--exclude leaves no column"),
    ],
)
def test_what_means_nothing_is_one_line(options, message, folder, capsys):
    np.save("x.npy", X)
    assert main(["cluster", "x.npy", *options]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["x.npy"]


# ---- the table ----------------------------------------------------------------------------------


def test_standardized_columns_are_told_in_their_own_units(folder, capsys):
    far = X * [1, 1000, 1, 1] + [0, 0, 500, 0]
    np.save("x.npy", far)
    assert main(["cluster", "x.npy", "-k", "3", "--model", "kmeans", "--standardize"]) == 0
    out = capsys.readouterr().out
    content = json.loads((folder / "x.kmeans.json").read_text())
    scaled = (far - far.mean(axis=0)) / far.std(axis=0)
    assert_allclose(content["scaling"]["scale"], far.std(axis=0))
    expected = KMeans(3, tol=1e-3, max_iter=100, n_init=1, random_state=0).fit(scaled)
    assert_allclose(content["cluster_centers"], expected.cluster_centers_)
    largest = np.bincount(expected.labels_).argmax()
    mean = far[expected.labels_ == largest].mean(axis=0)
    assert re.search(rf" {mean[0]:.2f} ± [\d.]+ +{mean[1]:,.0f} ± ", out)
    assert "scales differ" not in out
    assert main(["predict", "x.kmeans.skops", "x.npy", "-o", "again"]) == 0
    assert_array_equal(labels_of("again/x.labels.csv")[0], expected.labels_)


def test_doubts_are_told(capsys):
    rows = np.column_stack([np.arange(7, 157), X[:, :2] * [1, 1e4], np.full(150, 3)])
    write_csv("x.csv", rows, ["id", "small", "large", "same"])
    assert main(["cluster", "x.csv", "-k", "2"]) == 0
    out = capsys.readouterr().out
    assert "same does not vary: leave out with --exclude" in out
    assert "id only numbers the rows: leave out with --exclude id" in out
    assert re.search(r"scales differ by [\d,]+ ×: --standardize", out)
    write_csv("few.csv", X[:4])
    assert main(["cluster", "few.csv", "-k", "4"]) == 0
    assert "as many components as rows" in capsys.readouterr().out
    np.save("plain.npy", X)
    assert main(["cluster", "plain.npy", "-k", "2"]) == 0
    shown = capsys.readouterr().out
    assert not re.search("leave out|scales differ|as many", shown)


@pytest.mark.parametrize("gap", ["", "NA", "nan", "?"])
def test_rows_with_missing_values_are_left_out(gap, capsys):
    rows = [list(map(str, row)) for row in X]
    rows[3][2] = rows[80][0] = gap
    write_csv("x.csv", rows)
    assert main(["cluster", "x.csv", "-k", "2", "--model", "bayesian"]) == 2
    assert "fill it in, give --drop-missing, or" in capsys.readouterr().err
    assert main(["cluster", "x.csv", "-k", "2", "--drop-missing"]) == 0
    assert "2 rows with missing values left out" in capsys.readouterr().out
    kept = np.delete(X, [3, 80], axis=0)
    labels, _ = labels_of("x.labels.csv")
    assert_array_equal(labels, GaussianMixture(2, random_state=0).fit(kept).predict(kept))
    with open("x.labels.csv", encoding="utf-8") as file:
        names = [line.split(",")[0] for line in file][1:]
    assert names == [str(i) for i in range(1, 151) if i not in (4, 81)]


def test_missing_values_of_arrays_are_left_out():
    holed = X.copy()
    holed[5, 1] = np.nan
    np.save("x.npy", holed)
    table = read_table("x.npy", Wanted(drop_missing=True))
    assert_array_equal(table.X, np.delete(X, 5, axis=0))
    assert_array_equal(table.row_names()[4:6], [5, 7])
    assert "1 row with missing values left out" in table.notes


def test_a_model_that_knows_missing_values_is_given_them(capsys):
    holed = X.copy()
    holed[5, 1] = holed[6, 0] = np.nan
    write_csv("x.csv", np.where(np.isnan(holed), "NA", holed.astype(str)))
    assert main(["cluster", "x.csv", "-k", "2", "--standardize", "--report", "a.html"]) == 0
    assert "2 missing values, taken for unknown" in capsys.readouterr().out
    scaled = (holed - np.nanmean(holed, axis=0)) / np.nanstd(holed, axis=0)
    expected = GaussianMixture(2, random_state=0).fit(scaled).predict(scaled)
    labels, _ = labels_of("x.labels.csv")
    assert_array_equal(labels, expected)
    assert main(["predict", "x.mixture.skops", "x.csv", "-f"]) == 0
    assert_array_equal(labels_of("x.labels.csv")[0], expected)


def test_standard_input_decimal_commas_and_encodings(folder, monkeypatch):
    text = "\n".join(["höhe;breite", *(f"{a};{b}".replace(".", ",") for a, b in X[:, :2])])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode("cp1252"))))
    options = ["--decimal", ",", "--encoding", "cp1252"]
    assert main(["cluster", "-", "-k", "2", *options]) == 0
    content = json.loads((folder / "stdin.mixture.json").read_text())
    assert content["columns"] == ["höhe", "breite"]
    expected = GaussianMixture(2, random_state=0).fit(X[:, :2])
    assert_array_equal(content["means"], expected.means_)


def test_a_text_in_another_encoding_names_the_cure(folder, capsys):
    (folder / "x.csv").write_bytes("höhe\n1\n2\n".encode("cp1252"))
    assert main(["cluster", "x.csv"]) == 2
    assert "name its encoding, as --encoding cp1252" in capsys.readouterr().err


def test_a_workbook(capsys):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("openpyxl")
    pandas.DataFrame(X, columns=list("abcd")).to_excel("x.xlsx", index=False)
    table = read_table("x.xlsx", Wanted(["b", "a"]))
    assert table.names == ["b", "a"]
    assert_allclose(table.X, X[:, [1, 0]])


def test_a_workbook_without_its_readers(folder, monkeypatch, capsys):
    for module in ("pandas", "openpyxl"):
        monkeypatch.setitem(sys.modules, module, None)
    (folder / "x.xlsx").write_bytes(b"PK")
    assert main(["cluster", "x.xlsx"]) == 2
    assert capsys.readouterr().err == (
        "fastem: error: x.xlsx: reading .xlsx needs pandas; run: pip install 'fastem[excel]'\n"
    )


# ---- predict ------------------------------------------------------------------------------------


@pytest.fixture
def named(capsys):
    """A model of a table whose rows and columns have names."""
    rows = [[f"=cell {i}", *row] for i, row in enumerate(X)]
    write_csv("x.csv", rows, ["", "a", "b", "c", "d"])
    assert main(["cluster", "x.csv", "-k", "2"]) == 0
    capsys.readouterr()
    return "x.mixture.skops"


def test_rows_keep_their_names_and_no_cell_is_a_formula(named):
    with open("x.labels.csv", encoding="utf-8") as file:
        lines = file.read().splitlines()
    assert lines[1].startswith("'=cell 0,")
    assert [safe_cell(text) for text in ("-1.5", "@x", 'a "b"', "+1e3", "-", "a,b")] == [
        "-1.5", "'@x", '"a ""b"""', "+1e3", "'-", '"a,b"'
    ]  # fmt: skip


def test_columns_are_found_by_name(named):
    write_csv("new.csv", X[:9, [3, 1, 0, 2]], ["d", "b", "a", "c"])
    assert main(["predict", named, "new.csv"]) == 0
    expected = GaussianMixture(2, random_state=0).fit(X).predict(X[:9])
    assert_array_equal(labels_of("new.labels.csv")[0], expected)


@pytest.mark.parametrize("name", ["new.parquet", "new.xlsx"])
def test_labels_are_appended_to_tables_that_are_no_text(named, name):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow" if name.endswith("parquet") else "openpyxl")
    frame = pandas.DataFrame(X[:4], columns=list("abcd"), index=["@1", "p", "q", "r"])
    frame["note"] = ["u", None, "v", "w"]
    frame.iloc[1, 0] = np.nan
    getattr(frame, "to_parquet" if name.endswith("parquet") else "to_excel")(name)
    assert main(["predict", named, name, "--append", "--drop-missing"]) == 0
    found = pandas.read_csv("new.labels.csv")
    expected = GaussianMixture(2, random_state=0).fit(X).predict(X[:4]).astype(float)
    expected[1] = np.nan
    assert_array_equal(found["label"], expected)
    assert_allclose(found[list("abcd")], frame[list("abcd")])
    assert "'@1" in found.to_numpy()
    assert main(["predict", named, name, "-f", "--drop-missing"]) == 0
    assert pandas.read_csv("new.labels.csv")["row"].tolist() == ["'@1", "q", "r"]


def test_labels_are_appended_to_the_table(named):
    write_csv("new.csv", [[*row, "x,y"] for row in X[:5]], [*"abcd", "note"])
    with open("new.csv", encoding="utf-8") as file:
        text = file.read().replace("x,y", '"x,y"').replace("5.1", "")
    with open("new.csv", "w", encoding="utf-8") as file:
        file.write(text)
    assert main(["predict", named, "new.csv", "--append", "--drop-missing"]) == 0
    with open("new.labels.csv", encoding="utf-8") as file:
        lines = file.read().splitlines()
    assert lines[0] == "a,b,c,d,note,label,probability"
    assert lines[1] == ',3.5,1.4,0.2,"x,y",,'
    assert re.fullmatch(r'4.9,3.0,1.4,0.2,"x,y",[01],1', lines[2])


def test_what_cannot_be_predicted_is_one_line(named, folder, capsys):
    write_csv("new.csv", X[:9, :2], ["a", "b"])
    np.save("new.npy", X)
    write_csv("words.csv", [[1, "x", 3, 4]], "abcd")
    (folder / "bad.skops").write_bytes(b"PK")
    (folder / "cut.csv.gz").write_bytes(b"a,b,c,d")
    for arguments, message in (
        ([named, "new.csv"], "new.csv: has no column 'c'; it has a, b"),
        (["nope.skops", "new.csv"], "nope.skops: no such file"),
        (["bad.skops", "new.csv"], "bad.skops: is not a model that cluster wrote"),
        (["x.mixture.json", "new.csv"], "x.mixture.json: is not a model that cluster wrote"),
        ([named, "new.npy"], "new.npy: has no column 'a'; it has x1, x2, x3, x4"),
        ([named, "cut.csv.gz"], "cut.csv.gz: cannot be read"),
        (
            [named, "words.csv"],
            "words.csv, line 2, column 2 (b): 'x' is not a number; correct it or delete the row\n",
        ),
    ):
        assert main(["predict", *arguments]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1


def test_a_file_with_foreign_code_is_not_read(folder, capsys):
    import fractions

    import skops.io

    (folder / "x.skops").write_bytes(skops.io.dumps({"model": fractions.Fraction(1, 2)}))
    np.save("new.npy", X)
    assert main(["predict", "x.skops", "new.npy"]) == 2
    assert "is not of fastem; not read" in capsys.readouterr().err


def test_without_skops_the_model_is_left_out(folder, monkeypatch, capsys):
    monkeypatch.setattr("fastem._cli.predict.can_save", lambda: False)
    np.save("x.npy", X)
    assert main(["cluster", "x.npy", "-k", "2"]) == 0
    assert "pip install 'fastem[skops]'" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == [
        "x.labels.csv", "x.mixture.json", "x.npy"
    ]  # fmt: skip
