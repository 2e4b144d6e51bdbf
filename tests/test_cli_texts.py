"""Texts that ``topics`` reads: columns of tables, tokenizers, texts without spaces; several K."""

import gzip
import json
import re
import sys
import types

import numpy as np
import pytest

from fastem.__main__ import main

WORDS = (
    ["sun", "moon", "star", "planet", "orbit", "comet"],
    ["bread", "butter", "flour", "oven", "yeast", "sugar"],
    ["goal", "match", "ball", "team", "league", "player"],
)
RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(WORDS[i % 3], 12)) for i in range(90)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory, and a terminal of eighty columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, name):
    """Write the texts as a table of that type, one cell of which is empty."""
    texts = [*TEXTS, ""]
    if name.startswith("x.jsonl"):
        text = "\n".join(json.dumps({"n": i, "text": t}) for i, t in enumerate(texts))
    else:
        mark = "\t" if name.endswith("tsv") else ","
        text = "\n".join(f"{i}{mark}{t}" for i, t in enumerate(texts))
        text = f"n{mark}text\n{text}"
    data = text.encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return name


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.csv.gz", "x.jsonl", "x.jsonl.gz"])
def test_a_column_of_texts(name, folder, capsys):
    write(folder, name)
    assert main(["topics", name, "--column", "text", "-k", "3"]) == 0
    out = capsys.readouterr().out
    assert "90 documents, 1,080 words of which 18 different" in out
    assert "1 row without a text left out" in out
    tops = re.findall(r"^ +\d +[\d.]+%  (.*?),$", out, re.MULTILINE)
    themes = [{t for t in range(3) if top.split()[0] in WORDS[t]} for top in tops]
    assert sorted(themes, key=min) == [{0}, {1}, {2}]


def test_a_column_of_parquet(folder, capsys):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame({"n": range(90), "text": TEXTS}).to_parquet("x.parquet")
    assert main(["topics", "x.parquet", "--column", "2", "-k", "3"]) == 0
    assert "90 documents" in capsys.readouterr().out
    assert main(["topics", "x.parquet", "--column", "n", "-f"]) == 2
    assert "x.parquet, row 1, column n: 0 is no text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("x.csv", [], "is a table; name its column of texts, as --column text, which has n, text"),
        ("x.csv", ["--column", "body"], "x.csv: has no column 'body'; it has n, text"),
        ("x.csv", ["--column", "text", "--tokenizer", "no_such:f"], "there is no such function"),
        ("x.csv", ["--column", "text", "--tokenizer", "math:pi"], "is no function"),
        ("x.csv", ["--column", "text", "--tokenizer", "math:sqrt"], "--tokenizer math:sqrt: "),
        ("x.csv", ["--column", "text", "--stop-words", "german"], "a file with a word a line"),
        ("x.jsonl", ["--column", "body"], "has no column 'body'; it has n, text"),
        ("x.csv", ["--column", "text", "-k", "2,3", "--held-out", "0"], "are compared by held-out"),
    ],
)
def test_what_cannot_be_read_is_one_line(name, options, message, folder, capsys):
    write(folder, name)
    assert main(["topics", name, *options]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == [name]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": "a"}\nno\n', "x.jsonl, line 2: is no JSON object"),
        (b"[1]\n", "x.jsonl, line 1: is no JSON object"),
        (b"\n\n", "x.jsonl: holds nothing but blank lines"),
        (b'{"text": "\xff"}\n', "x.jsonl: is not UTF-8 text"),
    ],
)
def test_bad_lines_of_json(content, message, folder, capsys):
    (folder / "x.jsonl").write_bytes(content)
    assert main(["topics", "x.jsonl", "--column", "text"]) == 2
    assert message in capsys.readouterr().err


def test_the_best_of_several_numbers_is_kept(folder, capsys):
    (folder / "x.txt").write_text("\n".join(TEXTS))
    assert main(["topics", "x.txt", "-k", "2-3,9", "--held-out", "0.3"]) == 0
    out = capsys.readouterr().out
    best = int(re.search(r"^ +(\d) .* ◀ highest", out, re.MULTILINE)[1])
    assert len(re.findall(r"^ +\d +-[\d.]+ +-[\d.]+  ", out, re.MULTILINE)) == 3
    content = json.loads((folder / "x.topics.json").read_text())
    assert len(content["topics"]) == best
    scores = {row["n_components"]: row["held_out"] for row in content["candidates"]}
    assert max(scores, key=scores.get) == best
    assert scores[best] == pytest.approx(-np.log(content["perplexity"]))
    assert best == 3
    assert "at the edge" not in out
    assert main(["topics", "x.txt", "-k", "2,3", "-f"]) == 0
    assert "at the edge of what was tried: try more" in capsys.readouterr().out


def test_nothing_is_timed_unless_asked(folder, capsys):
    (folder / "x.txt").write_text("\n".join(TEXTS))
    assert main(["topics", "x.txt", "-k", "3"]) == 0
    assert "scikit-learn" not in capsys.readouterr().out


CHINESE = ["我们喜欢吃面包和黄油", "太阳月亮星星在天空", "球队赢得比赛"] * 10


def test_texts_without_spaces_are_noticed(folder, capsys, monkeypatch):
    (folder / "zh.txt").write_text("\n".join(CHINESE), encoding="utf-8")
    assert main(["topics", "zh.txt", "-k", "2"]) == 0
    assert "no spaces between words: give --tokenizer" in capsys.readouterr().out
    (folder / "pairs.py").write_text(
        "def cut(t):\n    return [t[i:i+2] for i in range(len(t)-1)]\n"
    )
    monkeypatch.syspath_prepend(folder)
    sys.modules.pop("pairs", None)
    assert (
        main(["topics", "zh.txt", "-k", "2", "-f", "--tokenizer", "pairs:cut", "--words", "22"])
        == 0
    )
    out = capsys.readouterr().out
    assert "no spaces" not in out
    assert "月亮" in out


def test_tokens_and_stop_words_of_one_s_own(folder):
    (folder / "x.txt").write_text("\n".join(TEXTS))
    (folder / "stop.txt").write_text("sun\nGOAL\n")
    options = ["--token-pattern", "[a-z]{4}", "--stop-words", "stop.txt"]
    assert main(["topics", "x.txt", "-k", "3", *options]) == 0
    vocabulary = json.loads((folder / "x.topics.json").read_text())["vocabulary"]
    assert "goal" not in vocabulary
    assert {len(word) for word in vocabulary} == {4}


def test_stop_words_of_a_language(folder, monkeypatch, capsys):
    (folder / "x.txt").write_text("\n".join(TEXTS))
    lists = types.ModuleType("stopwordsiso")
    lists.has_lang, lists.langs = {"xx"}.__contains__, lambda: {"xx"}
    lists.stopwords = lambda code: {"goal", "sun"}
    monkeypatch.setitem(sys.modules, "stopwordsiso", lists)
    assert main(["topics", "x.txt", "-k", "3", "--stop-words", "xx"]) == 0
    vocabulary = json.loads((folder / "x.topics.json").read_text())["vocabulary"]
    assert not {"goal", "sun"} & set(vocabulary)
    assert main(["topics", "x.txt", "-f", "--stop-words", "yy"]) == 2
    assert "--stop-words yy: is none of the languages xx" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "stopwordsiso", None)
    assert main(["topics", "x.txt", "-f", "--stop-words", "xx"]) == 2
    assert "pip install 'fastem[stopwords]'" in capsys.readouterr().err


def test_a_table_in_a_text_file_is_noticed(folder, capsys):
    (folder / "x.txt").write_text("\n".join(f"{i}\t{text}" for i, text in enumerate(TEXTS)))
    assert main(["topics", "x.txt", "-k", "2"]) == 0
    assert "looks like a table: --column 2 takes the texts" in capsys.readouterr().out
    assert main(["topics", "x.txt", "-k", "2", "-f", "--column", "2"]) == 0
    assert "looks like" not in capsys.readouterr().out


@pytest.mark.parametrize("criterion", ["held_out", "coherence"])
def test_numbers_are_chosen_by_held_out_words_or_coherence(criterion, folder, capsys):
    (folder / "x.txt").write_text("\n".join(TEXTS))
    assert main(["topics", "x.txt", "-k", "2-4", "--criterion", criterion]) == 0
    out = capsys.readouterr().out
    rows = re.findall(r"^ +\d +(-[\d.]+) +(-[\d.]+) +(.*)$", out, re.MULTILINE)
    best = max(float(row[1]) for row in rows)  # what decides comes last
    assert [float(row[1]) for row in rows if "highest" in row[2]] == [best]
    candidates = json.loads((folder / "x.topics.json").read_text())["candidates"]
    assert max(row[criterion] for row in candidates) == pytest.approx(best, abs=1e-4)
