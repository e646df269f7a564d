"""Files of figures: text stays text in SVG, and in PDF is written in embedded TrueType fonts from which it is read."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics
from flipbench.analysis.pivot import pivots
from flipbench.report.figures import catalogue, style
from flipbench.spec.figure_options import FigureOptions
from tests.helpers import records
from tests.helpers.legible import assert_legible

RULES = ("fedavg", "krum", "median")


def named(folder: Path, name: str, look: FigureOptions | None = None) -> Figure:
    frame = frames.load(folder)
    with frames.labels_of(frame), style.drawing(look or FigureOptions()):
        every = {p.name: p for p in catalogue.figures(pivots(frame, metrics.evaluate(frame)), {})}
        return every[name].draw()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("files") / "files"
    attacks = {"targeted(source=4, target=9)": [(4, 9)]}
    records.write_grid(made, aggregators=RULES, attacks=attacks, fractions=(0.1, 0.45), seeds=(0, 1))
    return made


def lines_of(figure: Figure) -> set[str]:
    return {" ".join(line.split()) for t in figure.findobj(Text) for line in t.get_text().split("\n") if line.strip()}


@pytest.mark.parametrize("font", [None, "DejaVu Serif"])
def test_every_label_of_an_svg_is_a_text_element(folder: Path, font: str | None) -> None:
    figure = named(folder, "accuracy_targeted-4-to-9", FigureOptions(font=font))
    root = ET.fromstring(style.saved(figure, "svg"))
    texts = ["".join(e.itertext()) for e in root.iter("{http://www.w3.org/2000/svg}text")]
    drawn = {" ".join(text.split()) for text in texts}
    told = {line for line in lines_of(figure) if not re.fullmatch(r"[\d.]+", line)}  # an axis has ticks beyond its end
    assert told <= drawn
    assert {*RULES, "clean", "10 %", "infeasible"} <= drawn
    styles = [e.get("style", "") for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert all(f"font-family: '{font or style.FONT}'" in text for text in styles)


@pytest.fixture(scope="module")
def pdf(folder: Path) -> tuple[bytes, Figure]:
    figure = named(folder, "accuracy_targeted-4-to-9")
    return style.saved(figure, "pdf"), figure


def test_the_fonts_of_a_pdf_are_embedded_truetype(pdf: tuple[bytes, Figure]) -> None:
    raw, _ = pdf
    fonts = set(re.findall(rb"/BaseFont /([\w+-]+)", raw))
    assert fonts
    assert all(b"DejaVuSans" in font for font in fonts)
    assert raw.count(b"/FontFile2 ") == len(re.findall(rb"/Type /FontDescriptor", raw)) > 0
    assert not re.search(rb"/Type3\b|/FontFile3?\b", raw)


def test_the_text_of_a_pdf_can_be_read(pdf: tuple[bytes, Figure]) -> None:
    """Every character that is drawn stands in a map from codes to Unicode."""
    raw, figure = pdf
    streams = []
    for found in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", raw, flags=re.S):
        try:
            streams.append(zlib.decompress(found))
        except zlib.error:
            continue
    maps = [s.decode("ascii") for s in streams if b"begincmap" in s]
    listed = re.findall(r"^<\w+> <\w+> \[(.*)\]$", "\n".join(maps), re.M)  # a range of codes, its characters
    codes = [code for some in listed for code in re.findall(r"<(\w+)>", some)]
    known = set("".join(bytes.fromhex(code).decode("utf-16-be") for code in codes))
    told = {c for line in lines_of(figure) for c in line if not c.isspace()}
    assert told <= known, sorted(told - known)


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext is not installed")
def test_a_program_reads_the_text_of_a_pdf(pdf: tuple[bytes, Figure], tmp_path: Path) -> None:
    raw, _ = pdf
    (tmp_path / "one.pdf").write_bytes(raw)
    told = subprocess.run(["pdftotext", tmp_path / "one.pdf", "-"], capture_output=True, check=True).stdout.decode()
    for text in ("Accuracy: targeted 4→9", "malicious fraction", "fedavg", "±", "95 % interval"):
        assert text in told


SMALL = {
    "one square": {"aggregators": ("fedavg",), "seeds": (0,), "fractions": (0.2,)},
    "one seed": {"aggregators": RULES, "seeds": (0,)},
    "an infeasible column": {"infeasible": [(rule, 0.45) for rule in RULES]},
    "nothing feasible": {"infeasible": [(rule, f) for rule in RULES for f in (0.1, 0.45)], "seeds": (0, 1)},
}


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", SMALL)
def test_the_smallest_grids_are_drawn(tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One seed, one square, columns without a number: no warning, nothing overlaps, and the caption is right."""
    given = {"aggregators": RULES, "fractions": (0.1, 0.45), "seeds": (0, 1), "infeasible": (), **SMALL[case]}
    attacks = {"mirrored": records.LABEL_FLIPS["mirrored"]}
    records.write_grid(tmp_path / "g", attacks=attacks, flip_rates=(1.0,), **given)
    frame = frames.load(tmp_path / "g")
    with frames.labels_of(frame):
        every = list(catalogue.figures(pivots(frame, metrics.evaluate(frame)), {}))
        assert every
        for planned in every:
            if "_damage_" in planned.name:
                continue  # drawn as the accuracy is
            figure = planned.draw()
            assert_legible(planned.name, figure, monkeypatch)
            told = " ".join(" ".join(t.get_text() for t in figure.texts).split())
            one = len(given["seeds"]) == 1
            assert ("mean over seeds" in told.lower()) != one, (planned.name, told)
            assert ("one seed" in told.lower()) == one, (planned.name, told)
