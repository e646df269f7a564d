"""Ranking, costs, leaderboard, the two pictures of them, and the report in one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics, statistics
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import pages
from flipbench.analysis.pivot import Pivot, pivots
from flipbench.analysis.ranking import rank
from flipbench.report import write as report
from flipbench.report.figures import influence_curves, rank_diagram
from flipbench.report.html import page as results_page
from flipbench.report.html import templates
from flipbench.report.html.leaderboard import HEADS, leaderboard
from tests.helpers import records
from tests.helpers.hostile import HOSTILE, parsed
from tests.helpers.records import write_three_rules


def read(folder: Path) -> tuple[Any, Any, Any]:
    frame = frames.load(folder)
    tidy = metrics.evaluate(frame)
    (page,) = pages(frame)
    return frame, tidy, page


def small(folder: Path, **given: Any) -> Path:
    records.write_grid(
        folder,
        **{
            "aggregators": ("fedavg", "krum", "median"),
            "attacks": {"mirrored": records.LABEL_FLIPS["mirrored"]},
            "fractions": (0.1, 0.45),
            "flip_rates": (1.0,),
            "seeds": (0, 1, 2),
            **given,
        },
    )
    return folder


def test_ranks_are_averaged_within_each_seed_and_n_is_the_seeds(tmp_path: Path) -> None:
    frame, tidy, _ = write_three_rules(tmp_path / "ten", 10)
    (page,) = pages(frame)
    found = rank(Pivot(page, tidy), metric_column("accuracy"))
    assert found is not None
    assert (found.seeds, found.columns, found.left_out) == (10, 1, ())
    assert sum(found.ranks) == pytest.approx(6.0)
    assert found.ranks[found.rules.index("krum")] == 3.0  # far below in every seed
    assert rank(Pivot(page, tidy), metric_column("accuracy_damage")) is not None


def test_what_is_infeasible_somewhere_is_ranked_where_it_works(tmp_path: Path) -> None:
    _, tidy, page = read(small(tmp_path / "g"))  # krum refuses 45 %
    found = rank(Pivot(page, tidy), metric_column("accuracy"))
    assert found is not None
    assert found.columns == 1
    assert "krum" in found.rules
    _, tidy, page = read(small(tmp_path / "h", infeasible=(("krum", 0.1), ("krum", 0.45))))
    found = rank(Pivot(page, tidy), metric_column("accuracy"))
    assert found is not None
    assert found.left_out == ("krum",)
    assert found.columns == 2
    _, tidy, page = read(small(tmp_path / "i", seeds=(0,)))
    assert rank(Pivot(page, tidy), metric_column("accuracy")) is None


def test_the_cost_is_paired_with_fedavg(tmp_path: Path) -> None:
    frame, tidy, _ = write_three_rules(tmp_path / "ten", 10)
    (page,) = pages(frame)
    lost, columns = Pivot(page, tidy).robustness_cost(metric_column("accuracy"))
    assert [c.clean for c in columns] == [True]
    clean = tidy[tidy["clean"]].pivot_table(index="seed", columns="aggregator", values="accuracy")
    krum, fedavg = page.rows.index("krum"), page.rows.index("fedavg")
    assert lost[0, krum].tolist() == pytest.approx((clean["fedavg"] - clean["krum"]).tolist())
    low, high = statistics.student_interval(lost[0, krum])
    assert high - low < 0.5 * clean["krum"].std()  # seeds shift both alike
    assert not lost[0, fedavg].any()


def test_the_leaderboard_ranks_by_the_worst_case_and_says_where_a_rule_has_no_number(tmp_path: Path) -> None:
    attacks = {n: records.LABEL_FLIPS[n] for n in ("mirrored", "targeted(source=4, target=9)")}
    _, tidy, page = read(small(tmp_path / "g", attacks=attacks))
    block = leaderboard(Pivot(page, tidy))
    assert block.header == (HEADS,)
    told = {name: dict(zip(HEADS, [e.text for e in entries], strict=True)) for name, entries in block.rows}
    least = {name: float(line["worst case"]) for name, line in told.items()}
    complete = [name for name in told if "only" not in told[name]["worst attack"]]
    assert complete == sorted(complete, key=lambda name: -least[name])
    assert [*told] == [*complete, "krum"]  # whoever lacks a place stands last
    means = tidy[~tidy["clean"]].groupby(["aggregator", "attack", "malicious_fraction"])["accuracy"].mean()
    assert least == pytest.approx({name: 100 * means[name].min() for name in told}, abs=0.051)
    assert told["krum"]["mean under attack"].endswith("(2 of 4 columns)")
    assert told["krum"]["worst attack"] == "mirrored, malicious fraction 10 %, only 2 of 4 attacks and places"
    assert told["fedavg"]["worst attack"] == "mirrored, malicious fraction 45 %"
    assert told["fedavg"]["robustness cost"].startswith("0.0")
    assert {line["ms a round"] for line in told.values()} == {f"{1000 * 0.25 / records.BASE.rounds:.2f}"}


def test_the_leaderboard_of_one_attack_or_none_stands_too(tmp_path: Path) -> None:
    _, tidy, page = read(small(tmp_path / "g"))
    told = {name: [e.text for e in entries] for name, entries in leaderboard(Pivot(page, tidy)).rows}
    assert told["krum"][0] == told["krum"][1].split()[0]  # a single attack is the worst and the mean
    _, tidy, page = read(small(tmp_path / "h", attacks={"none": None}, fractions=(0.0,)))
    told = {name: [e.text for e in entries] for name, entries in leaderboard(Pivot(page, tidy)).rows}
    assert {line[0] for line in told.values()} == {"–"}
    assert "–" not in {line[2] for line in told.values()}


def test_the_rank_diagram_draws_every_rule_and_joins_what_is_within_reach(tmp_path: Path) -> None:
    frame, tidy, _ = write_three_rules(tmp_path / "ten", 10)
    (page,) = pages(frame)
    found = rank(Pivot(page, tidy), metric_column("accuracy"))
    assert found is not None
    made = rank_diagram.draw(page, found, metric_column("accuracy"))
    ax = made.axes[0]
    assert {t.get_text().strip() for t in ax.texts} == {"fedavg", "krum", "median", f"CD = {found.difference:.2f}"}
    bars = [line for line in ax.lines if line.get_linewidth() > 2]
    assert len(bars) == 1  # fedavg and median; krum stands alone
    assert max(bars[0].get_xdata()) < 2.5


def test_influence_is_the_summed_weight_of_the_malicious(tmp_path: Path) -> None:
    _, _, page = read(small(tmp_path / "g"))
    lines = influence_curves.series(page, "mirrored")
    assert set(lines["across"]) == {0.1, 0.45}
    assert np.allclose(lines["mean"], lines["across"])  # the made-up records give everybody 1/n
    made = influence_curves.draw(page, "mirrored", lines)
    drawn = {str(line.get_label()): line.get_ydata() for line in made.axes[0].lines}
    assert np.allclose(drawn["fedavg"], 0.1)


@pytest.mark.slow
def test_the_report_is_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    folder = small(tmp_path / "g")
    report.write(folder)
    raw = (folder / "report.html").read_bytes()
    text = raw.decode()
    found = parsed(text)
    for name in ("Warnings", "Rules", "Explore", "Tables", "Figures", "Comparisons", "Method"):
        assert f'id="{name.lower()}"' in text
        assert f'href="#{name.lower()}"' in text
    outside = [v for name, v in found.attributes if name in ("src", "href") and not str(v).startswith(("#", "data:"))]
    assert outside == []
    assert "link" not in found.tags
    assert found.tags.count("script") == 2  # the data, and the script
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    assert templates.hash_of(script) in text.partition("<title>")[0]
    assert templates.hash_of(templates.style()) in text.partition("<title>")[0]
    assert "No difference between rules is claimed" in text
    assert all(dict(found.attributes).get("alt") for tag in found.tags if tag == "img")
    report.write(folder)
    assert (folder / "report.html").read_bytes() == raw


def test_hostile_names_are_inert_in_the_report(tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    store = records.write_grid(
        folder, aggregators=("fedavg", HOSTILE), fractions=(0.1,), flip_rates=(1.0,), seeds=tuple(range(6))
    )
    plan = store.read_plan() | {"title": "</title><script>alert(2)</script>"}
    frame = frames.load(folder)
    drawn = {"ranks<b": b"png"}
    text = results_page.write(
        frame, pivots(frame, metrics.evaluate(frame)), plan, ["<img src=x onerror=alert(3)>"], drawn
    )
    found = parsed(text)
    assert found.tags.count("script") == 2
    assert found.tags.count("img") == 1
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert "<" not in text.partition('id="data">')[2].partition("</script>")[0]


def test_pictures_beyond_the_room_are_counted_the_telling_first() -> None:
    drawn = {"damage-bars": b"1" * 30, "rounds": b"1", "ranks": b"1" * 30}
    figures, left_out = results_page._figures_within(drawn, 250)
    assert ['id="ranks"' in f for f in figures] == [True]
    assert left_out == 2
    assert results_page._figures_within({"ranks": b"1" * 30}, 10) == ([], 1)


def test_a_page_keeps_to_its_size_and_says_what_it_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, tidy, _ = read(small(tmp_path / "g"))
    sizes = []
    for room, kinds in ((900_000, 3), (103_000, 0)):
        monkeypatch.setattr(results_page, "MOST_BYTES", room)
        monkeypatch.setattr(results_page, "_FOR_METRICS", 3_000)
        monkeypatch.setattr(results_page, "_FOR_FIGURES", 0)
        text = results_page.write(frame, pivots(frame, tidy), {"grid": "g"}, [], {})
        (told,) = json.loads(text.partition('id="data">')[2].partition("</script>")[0])["pages"]
        assert len(told["details"]["parts"]) == kinds
        sizes.append(len(text))
        assert sizes[-1] < room
    assert sizes[0] > sizes[1]


def test_pairs_that_are_told_apart_come_first(tmp_path: Path) -> None:
    frame, tidy, _ = write_three_rules(tmp_path / "ten", 10)
    (page,) = pages(frame)
    text = results_page._comparisons(Pivot(page, tidy))
    assert text.index("minus krum") < text.index("not told apart")
    assert "6 of 6 pairs" in text
