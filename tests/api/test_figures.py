"""Figures in Python with the options of a report: size, title, caption, font, and a file of their own."""

from __future__ import annotations

import re

import matplotlib
import pytest
from matplotlib.text import Text

import flipbench as fb
from flipbench.report import write

matplotlib.use("agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def texts(ax):
    return [t.get_text() for t in ax.figure.findobj(Text) if t.get_text().strip()]


@pytest.mark.parametrize("name", ["heatmap", "curves"])
def test_a_figure_has_the_size_and_the_parts_that_are_asked_for(results, tmp_path, name):
    draw = getattr(results, name)
    path = tmp_path / "new folder" / "one.svg"
    ax = draw(attack="mirrored", width=5.0, height=4.0, path=path)
    assert ax.figure.get_size_inches().tolist() == pytest.approx([5.0, 4.0])
    told = " ".join(texts(ax)).replace("\n", " ")
    assert "digits" in told  # of the subtitle
    assert "95 % interval" in told or "range of the seeds" in told  # of the caption
    svg = path.read_text("utf-8")
    assert re.search(r'<svg [^>]*width="360pt"', svg)
    bare = draw(attack="mirrored", title=False, caption=False, font="DejaVu Serif")
    told = " ".join(texts(bare)).replace("\n", " ")
    assert "digits" not in told
    assert "interval" not in told
    families = {t.get_fontfamily()[0] for t in bare.figure.findobj(Text) if t.get_text().strip()}
    assert families == {"DejaVu Serif"}


@pytest.mark.parametrize("name", ["heatmap", "curves"])
def test_axes_of_ones_own_take_title_and_font(results, name):
    ax = getattr(results, name)(ax=plt.figure().subplots(), title=False, font="DejaVu Serif")
    ax.figure.canvas.draw()
    assert ax.get_title() == ""
    families = {t.get_fontfamily()[0] for t in [*ax.texts, *ax.get_yticklabels()] if t.get_text()}
    assert families == {"DejaVu Serif"}


@pytest.mark.slow
def test_equal_calls_write_equal_bytes_and_the_reports_figure(results, tmp_path):
    look = {"width": 5.0, "title": False}
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    for path in (one, two):
        results.heatmap("source_recall", path=str(path), **look)
    assert one.read_bytes() == two.read_bytes()
    written = results.report(**look, formats="png")
    assert results.folder / "report.html" in written
    assert (results.folder / "tables/cells.csv").is_file()
    assert results.warnings == write.warnings(*write.read(results.folder))
    files = {p.name: p for p in written}
    assert {p.suffix for p in files.values() if p.parent.name == "heatmaps"} == {".png"}
    assert files["source_recall_targeted-4-to-9.png"].read_bytes() == one.read_bytes()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"widht": 3.3}, "unknown option 'widht' - did you mean 'width'"),
        ({"width": "3.3"}, "width is a number of inches from 1.5 to 40"),
        ({"height": 1.5, "caption": True}, "the figure needs a height of "),
        ({"title": "none"}, "title is true or false"),
        ({"font": "Comic Serif"}, "is not installed here"),
        ({"formats": ["pdf"]}, "name this one in the format you want"),
        ({"path": "one.jpg"}, "path needs a file that ends in .pdf, .svg, .png; got 'one.jpg'"),
        ({"path": "one"}, "path needs a file that ends in"),
        ({"path": 3}, "path is the name of a file"),
        ({"path": "folder.svg"}, "folder.svg: cannot be written"),
        ({"ax": 3}, "ax is one matplotlib Axes"),
    ],
)
@pytest.mark.parametrize("name", ["heatmap", "curves"])
def test_wrong_options_are_told(results, tmp_path, monkeypatch, name, given, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(fb.UserError) as caught:
        getattr(results, name)(**given)
    assert said in str(caught.value)


@pytest.mark.parametrize("given", [{"width": 3.3}, {"caption": True}, {"path": "one.svg"}])
def test_what_is_of_a_figure_is_refused_beside_axes(results, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    (name,) = given
    with pytest.raises(fb.UserError, match=f"{name} is of a figure, and ax has one already: leave out ax or {name}"):
        results.curves(ax=plt.figure().subplots(), **given)
    assert not list(tmp_path.iterdir())


def test_a_report_refuses_a_wrong_option_before_it_writes(results):
    before = {p: p.stat().st_mtime_ns for p in results.folder.rglob("*")}
    with pytest.raises(fb.UserError, match="unknown option 'size'"):
        results.report(size=3)
    assert {p: p.stat().st_mtime_ns for p in results.folder.rglob("*")} == before
