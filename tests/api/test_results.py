"""Results in Python say what the files of a report say."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
import pandas as pd
import pytest

import flipbench as fb
from flipbench.analysis import metrics
from flipbench.report import write
from flipbench.spec.cell import FIELDS
from flipbench.store.store import Store

matplotlib.use("agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_cells_have_every_field_and_every_metric(results):
    cells = results.cells
    assert len(cells) == 12
    assert set(FIELDS) <= set(cells.columns)
    for name in metrics.METRICS:
        assert {name, f"{name}_last5", f"{name}_clean", f"{name}_damage"} <= set(cells.columns)
    assert cells["rounds"].dtype == np.int64
    assert cells["key"].tolist() == Store(results.folder).read_plan()["keys"]
    tidy = metrics.evaluate(results.raw).set_index("key")
    assert cells.set_index("key")["accuracy"].equals(tidy["accuracy"])


def test_cells_that_have_no_numbers_are_there_too(tmp_path):
    grid = fb.read_grid(
        "smoke", {"aggregator": ["fedavg", "krum"], "seed": [0], "rounds": 2, "malicious_fraction": 0.4}
    )
    results = fb.run(grid, workers=1, results=tmp_path, progress=False)
    assert repr(results) == "<Results smoke: 6 cells, 3 done, 3 infeasible>"
    krum = results.cells[results.cells["aggregator"] == "krum"]
    assert krum["status"].eq("infeasible").all()
    assert krum["accuracy"].isna().all()
    assert krum["reason"].str.contains("krum needs at least").all()
    assert results.failures.empty
    table = results.table()
    assert table.frame.loc["krum"].isna().all()
    assert table.squares.query("aggregator == 'krum'")["state"].eq("infeasible").all()


@pytest.mark.parametrize("form", ["md", "tex", "csv"])
def test_a_table_is_that_of_the_command_line(results, form):
    rows, columns = ["aggregator"], ["attack", "malicious_fraction"]
    table = results.table("source_recall", rows="aggregator", columns=columns, where={"seed": [0, 1]})
    text = write.chosen(results.folder, "source_recall", rows, columns, ["seed=0", "seed=1"], form)
    if form == "csv":
        expected = pd.read_csv(io.StringIO(text))
        assert table.squares["mean"].round(6).tolist() == expected["mean"].round(6).tolist()
    else:
        assert (table.to_markdown() if form == "md" else table.to_latex()) == text


def test_the_frame_holds_means_over_seeds(results):
    frame = results.table("accuracy", columns=["attack", "malicious_fraction"]).frame
    assert frame.index.name == "aggregator"
    assert frame.columns.names == ["attack", "malicious_fraction"]
    cells = results.cells
    mirrored = cells[(cells["aggregator"] == "median") & (cells["attack"] == "mirrored")]
    assert frame.loc["median", ("mirrored", 0.3)] == pytest.approx(mirrored["accuracy"].mean())
    clean = cells[(cells["aggregator"] == "median") & cells["clean"]]
    assert frame.loc["median"].iloc[0] == pytest.approx(clean["accuracy"].mean())
    turned = results.table("accuracy", rows="attack", columns="aggregator").frame
    assert turned.loc["mirrored", "median"] == pytest.approx(mirrored["accuracy"].mean())


def test_a_table_shows_itself(results):
    table = results.table()
    assert repr(table) == table.to_markdown()
    html = table._repr_html_()
    assert "<table" in html
    assert "fedavg" in html
    assert "12 cells, 12 done" in results._repr_html_()


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ({"aggregator": "median"}, {"median"}),
        ({"attack": ["mirrored"], "seed": 1}, {"fedavg", "median"}),
        (["aggregator=fedavg"], {"fedavg"}),
        ("aggregator=fedavg", {"fedavg"}),
        ({"clip_update": None}, {"fedavg", "median"}),
    ],
)
def test_where_keeps_the_cells_that_are_asked_for(results, where, left):
    assert set(results.table(where=where).frame.index) == left
    ax = results.heatmap("accuracy", attack="mirrored", where=where)
    assert {label.get_text() for label in ax.get_yticklabels()} == left


def test_a_heatmap_draws_into_the_axes_that_are_given(results):
    figure, axes = plt.subplots(1, 2)
    drawn = results.heatmap("source_recall", ax=axes[0])
    assert drawn is axes[0]
    assert drawn.get_title() == "Source recall (%), targeted 4→9"
    assert not axes[1].texts
    mean = results.table("source_recall", columns="attack").frame.loc["median", "targeted(source=4, target=9)"]
    assert any(text.get_text().startswith(f"{100 * mean:.1f}") for text in drawn.texts)
    named = results.heatmap("accuracy", attack="targeted 4→9", ax=axes[1])
    assert named.get_title() == "Accuracy (%), targeted 4→9"
    figure.canvas.draw()


def test_curves_have_a_line_for_each_rule_and_its_twin(results):
    ax = results.curves(attack="mirrored")
    assert len(ax.lines) == 4
    last = results.cells.query("aggregator == 'median' and attack == 'mirrored'")["accuracy"].mean()
    assert any(line.get_ydata()[-1] == pytest.approx(last) for line in ax.lines)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["fedavg", "median", "clean twin"]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda r: r.table("acuracy"), "there is no metric 'acuracy'"),
        (lambda r: r.table(rows="agregator"), "'agregator' is no field"),
        (lambda r: r.table(where={"seed": 7}), "no cell has seed 7"),
        (lambda r: r.heatmap("acuracy"), "there is no metric 'acuracy'"),
        (lambda r: r.heatmap(attack="mirored"), "there is no attack 'mirored' - did you mean 'mirrored'"),
        (lambda r: r.curves(where={"aggregator": "krum"}), "no cell has aggregator krum"),
        (lambda r: fb.load(r.folder.parent), "holds no plan.json"),
    ],
)
def test_mistakes_are_told(results, ask, said):
    with pytest.raises(fb.UserError, match=said):
        ask(results)
