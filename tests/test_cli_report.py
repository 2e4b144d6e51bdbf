"""``--report FILE.html``: one page with the numbers and the pictures, which needs nothing else."""

import base64
import builtins
import re
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="--report draws with matplotlib, which is not installed")

from fastem.__main__ import main
from fastem._cli.page import page
from fastem._cli.screen import Screen

THEMES = ("engine wheel brake motor", "flour butter oven 酵母", "violin cello $opera$ <b>&amp;")
VOID = {"meta", "img"}
DRAWN = "▁▂▃▄▅▆▇█▉▊▋▌▍▎▏"


class Page(HTMLParser):
    """Reads a page: its text, its pictures; fails if a tag is not closed where it should be."""

    def __init__(self, content):
        super().__init__()
        self.open, self.text, self.images, self.tags = [], [], [], set()
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attributes))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self):
        """All words, and the bars, of the text."""
        return " ".join(self.text).split()

    def svg(self, i):
        """The i-th picture, as XML."""
        kind, data = self.images[i]["src"].split(",")
        assert kind == "data:image/svg+xml;base64"
        return ET.fromstring(base64.b64decode(data))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_points(n_columns=3, n=60):
    random = np.random.default_rng(0)
    X = random.normal(size=(n, n_columns)) + 9 * (np.arange(n) % 2)[:, None]
    X[:, 0] = random.normal(size=n)  # tells nothing
    names = ["dull", *(f"x_{j}$" for j in range(1, n_columns))]
    rows = [",".join(names), *(",".join(map(str, row)) for row in X.tolist())]
    with open("points.csv", "w") as file:
        file.write("\n".join(rows) + "\n")
    return X


def read(name):
    with open(name, encoding="utf-8") as file:
        return file.read()


def fetched(content):
    """What a browser would fetch."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert policy in content
    links = re.findall(
        r"""(?:\b(?:src|href|action|data)\s*=|url\(|@import)\s*["']?([^"')\s>]+)""",
        content.replace(policy, ""),
    )
    assert links  # the pictures
    return [link for link in links if not link.startswith(("data:", "#"))]


def test_cluster(folder, capsys):
    write_points()
    assert main(["cluster", "points.csv", "-k", "1-3", "--report", "out/points.html"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.endswith("\n  out/points.html\n")
    content = read("out/points.html")
    shown = Page(content)
    assert fetched(content) == []
    assert not shown.tags & {"script", "link", "iframe", "object"}
    # Every word and number of the terminal is on the page, but for the curve that is a picture.
    words = set(shown.words)
    terminal = out[: out.index("Written")].split()
    assert {word for word in terminal if word.strip(DRAWN)} <= words
    assert len(shown.images) == 3  # the choice; the bound; pairs of columns
    assert all(image["alt"] for image in shown.images)
    for i in range(3):
        texts = "".join(shown.svg(i).itertext())
        assert ["n_components", "iteration", "x_1$"][i] in texts
    assert "Not drawn" not in content


def test_many_columns_are_all_in_the_table_and_some_in_the_picture(folder, capsys):
    write_points(7)
    assert main(["cluster", "points.csv", "-k", "2", "--report", "a.html"]) == 0
    assert "more columns in the files" in capsys.readouterr().out
    shown = Page(read("a.html"))
    assert all(f"x_{j}$" in shown.text for j in range(1, 7))
    drawn = set("".join(shown.svg(1).itertext()).split())
    (caption,) = [text for text in shown.text if "Not drawn: " in text]
    left = caption.split("Not drawn: ")[1].rstrip(".").split(", ")
    assert "dull" in left  # which tells nothing
    assert {"dull", *(f"x_{j}$" for j in range(1, 7))} - drawn == set(left)


@pytest.mark.parametrize("model", ["hmm", "poisson", "categorical", "kmeans", "bayesian"])
def test_every_model_has_a_picture_of_its_parts(model, folder, capsys):
    rows = np.random.default_rng(0).poisson(np.repeat([[2, 9, 4], [8, 1, 4]], 40, axis=0))
    np.savetxt("x.csv", rows, fmt="%d", delimiter=",", header="first,second,third", comments="")
    arguments = ["-k", "2", "--model", model, "--report", "a.html", "--max-iter", "300"]
    assert main(["cluster", "x.csv", *arguments]) == 0
    assert capsys.readouterr().err == ""
    shown = Page(read("a.html"))
    assert len(shown.images) == 2
    assert re.search("first|second", "".join(shown.svg(1).itertext()))


def test_pictures_inside_fetch_nothing(folder):
    write_points()
    main(["cluster", "points.csv", "-k", "2", "--report", "a.html"])
    shown = Page(read("a.html"))
    for i in range(len(shown.images)):
        for element in shown.svg(i).iter():
            for name, value in element.attrib.items():
                if name.endswith("href"):
                    assert value.startswith(("#", "data:"))


def test_the_same_page_for_the_same_run(folder):
    write_points(2)
    for name in ("a", "b"):
        main(["cluster", "points.csv", "-k", "2", "-f", "--report", f"{name}.html"])
    a, b = (re.sub(r"[\d.]+ [mµ]?s in all", "", read(f"{n}.html")) for n in "ab")
    assert a == b
    assert len(Page(a).images) == 2


def test_one_column_is_a_histogram(folder):
    write_points(1)
    assert main(["cluster", "points.csv", "-k", "2", "--report", "a.html"]) == 0
    assert "dull" in "".join(Page(read("a.html")).svg(1).itertext())


def test_topics(folder, capsys):
    random = np.random.default_rng(0)
    lines = [" ".join(random.choice(THEMES[i % 3].split(), 12)) for i in range(60)]
    (folder / "docs <1>.txt").write_text("\n".join(lines), encoding="utf-8")
    arguments = ["topics", "docs <1>.txt", "-k", "3", "--words", "3", "--report", "a.html"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""  # not a word of letters that matplotlib's font lacks
    content = read("a.html")
    shown = Page(content)
    assert fetched(content) == []
    assert "docs <1>.txt" in shown.text
    terminal = out[: out.index("Written")].split()
    assert {word for word in terminal if word.strip(DRAWN)} <= set(shown.words)
    topics_, _ = shown.svg(0), shown.svg(1)
    drawn = " ".join("".join(topics_.itertext()).split())
    found = re.findall(r"^ +\d +(\S+%) +(\S+) \S+, (\S+) ", out, re.M)
    assert len(found) == 3
    for share, *words in found:
        assert share in drawn
        assert all(word in drawn for word in words)
    # Largest first, there as on the terminal.
    places = [drawn.index(words[0]) for _, *words in found]
    assert places == sorted(places)


def test_topics_of_nothing_on_disk_write_the_report_alone(folder, monkeypatch):
    from fastem._cli import docstrings

    monkeypatch.setattr(docstrings, "MAX_BYTES", 300_000)
    assert main(["topics", "-k", "3", "--max-iter", "3", "--report", "a.html"]) == 0
    assert [path.name for path in folder.iterdir()] == ["a.html"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.pdf", "--report writes a page: give a name in .html, not a.pdf"),
        ("there.html", "there.html: exists already; add --force"),
        ("folder.html", "folder.html: is a folder"),
        ("there.html/a.html", "there.html: is a file"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_any_work(folder, capsys, name, message):
    write_points()
    (folder / "there.html").write_text("mine")
    (folder / "folder.html").mkdir()
    assert main(["cluster", "points.csv", "-k", "2", "--report", name]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert (folder / "there.html").read_text() == "mine"
    assert len(list(folder.iterdir())) == 3


def test_without_matplotlib(folder, monkeypatch, capsys):
    write_points()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["cluster", "points.csv", "-k", "2", "--report", "a.html"]) == 2
    out, err = capsys.readouterr()
    assert (out, "pip install 'fastem[plot]'" in err) == ("", True)


def test_without_the_option_matplotlib_is_not_imported(folder, monkeypatch):
    write_points()
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        assert not name.startswith("matplotlib")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert main(["cluster", "points.csv", "-k", "2"]) == 0


def test_what_a_screen_shows_is_what_it_remembers(capsys):
    screen, long = Screen(), "long " * 20
    screen.print("before")
    screen.heading("A <heading>", "a note")
    screen.print("█▌ 3 & 4", "green")
    assert screen.table([("a", "b"), ("1", long)], least=1) == 1  # there is no room for a column
    screen.print("after")
    assert "long" not in capsys.readouterr().out
    assert screen.sections == [
        ("", "", ["before"]),
        ("A <heading>", "a note", ["█▌ 3 & 4", [["a", "b"], ["1", long]], "after"]),
    ]
    shown = Page("".join(page("title", screen, [])))
    assert shown.words[:2] == ["title", "-"]
    expected = f"before A <heading> a note █▌ 3 & 4 a b 1 {long}after Written by fastem "
    assert expected in " ".join(shown.words)
