"""``--report FILE.html``: one page with the numbers and the pictures, which needs nothing else."""

import base64
import builtins
import importlib.util
import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="--report draws with matplotlib, which is not installed")

from fastem import GaussianMixture
from fastem.__main__ import main
from fastem._cli import topics
from fastem._cli.page import RecordingScreen, page, telling_columns

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
    monkeypatch.setattr(topics, "TIMING_BUDGET", 0.0)


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
    X = write_points()
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
    assert len(shown.images) == 5  # the choice; the bound; three pairs of columns
    assert all(image["alt"] for image in shown.images)
    for i in range(5):
        texts = "".join(shown.svg(i).itertext())
        assert ["n_components", "iteration", "x_1$", "x_2$", "x_2$"][i] in texts
    mixture = GaussianMixture(2, random_state=0).fit(X)
    assert telling_columns(mixture)[-1] == 0


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


def test_one_column_has_no_picture_of_components(folder):
    write_points(1)
    assert main(["cluster", "points.csv", "-k", "2", "--report", "a.html"]) == 0
    assert len(Page(read("a.html")).images) == 1


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
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else real(name)
    )
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


def test_what_a_screen_shows_is_what_it_remembers():
    stream = io.StringIO()
    screen = RecordingScreen(stream)
    screen.color = True
    screen.print("before")
    screen.heading("A <heading>", "a note")
    screen.print(screen.accent("█▌ 3 & 4"))
    screen.table([("a", "b"), ("1", "██")])
    screen.print("after")
    assert "\x1b[" in stream.getvalue()
    assert [tuple(section) for section in screen.sections] == [
        ("", "", ["before"]),
        ("A <heading>", "a note", ["█▌ 3 & 4", [["a", "b"], ["1", "██"]], "after"]),
    ]
    shown = Page("".join(page("before", screen, [])))
    assert shown.words[:2] == ["before", "-"]  # of the title
    expected = "before A <heading> a note █▌ 3 & 4 a b 1 ██ after Written by fastem "
    assert " ".join(shown.words[3:]).startswith(expected)
