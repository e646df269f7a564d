"""The report in a real Chromium: no error, no request, choice, drill-down, links, keyboard; hostile names are inert."""

from __future__ import annotations

import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import pages
from flipbench.analysis.pivot import Pivot
from flipbench.report import write
from flipbench.report.html.rerun_command import rerun
from flipbench.report.tables.model import blocks
from flipbench.spec.labels import aggregator_label
from tests.helpers import records
from tests.helpers.browser import Browser
from tests.helpers.hostile import HOSTILE

SECONDS = 20.0
ROWS = "Array.from(document.querySelectorAll('#heatmap tbody tr'))"
ONE = "krum | mirrored, malicious fraction 20 %"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three attacks and a rule that is infeasible at 45 %; one cell failed, one was not run."""
    where = tmp_path_factory.mktemp("browser") / "grid"
    store = records.write_attacks(
        where,
        aggregators=("fedavg", "krum", HOSTILE),
        attacks=("mirrored", "targeted(source=6, target=4)", "backdoor(target=0)"),
        fractions=(0.2, 0.45),
        seeds=(0, 1),
        infeasible=(("krum", 0.45),),
    )
    cell = replace(records.BASE, aggregator="mean", attack="mirrored", malicious_fraction=0.2)
    broken = records.record(cell, status="failed", reason="ValueError: <img src=x onerror=document.title='bad'>")
    store.publish(broken)
    plan = store.read_plan()
    title = "<script>document.title='bad'</script> & 'quotes'"
    store.write_plan(plan | {"title": title, "keys": [*plan["keys"], broken["key"], "f" * 64]})
    return where


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    (folder / "report.html").write_text(write.page(folder), "utf-8")
    return folder / "report.html"


def show(browser: Browser, file: Path, **choice: str) -> None:
    """Open the page with a choice in its address, and wait until it is drawn."""
    from urllib.parse import urlencode

    browser.open(f"{file.resolve().as_uri()}#{urlencode(choice)}")
    until(
        browser, "return Boolean(document.querySelector('#heatmap button.square')) || !document.querySelector('#said')"
    )
    if "square" in choice:
        until(browser, "return document.getElementById('square').open")


def until(browser: Browser, script: str) -> Any:
    """The first true value of a script."""
    end = time.monotonic() + SECONDS
    while not (value := browser.run(script)):
        assert time.monotonic() < end, f"never true: {script}\n{browser.errors()}"
        time.sleep(0.05)
    return value


def texts(browser: Browser, selector: str) -> list[str]:
    told = "e => (e.innerText ?? e.textContent).trim()"  # a drawing has no innerText
    return list(browser.run(f"return Array.from(document.querySelectorAll({selector!r}), {told})"))


def choose(browser: Browser, name: str, value: str) -> None:
    """Choose in a select as a user's click does."""
    script = """
    const made = document.querySelector(`#choice [name="${arguments[0]}"]`);
    made.value = arguments[1];
    made.dispatchEvent(new Event("input", {bubbles: true}));
    """
    browser.run(script, name, value)
    time.sleep(0.2)


def test_it_loads_without_an_error_and_asks_for_nothing(browser: Browser, file: Path) -> None:
    show(browser, file)
    assert browser.errors() == []
    assert browser.requests() == []
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")


def test_the_policy_stops_what_is_not_ours(browser: Browser, file: Path, tmp_path: Path) -> None:
    text = file.read_text("utf-8")
    evil = "<script>document.title='bad'</script><img src='http://127.0.0.1:9/x.png'><p style='color:red' id='p'>x</p>"
    (tmp_path / "evil.html").write_text(text.replace("</main>", f"{evil}</main>"), "utf-8")
    browser.open(tmp_path / "evil.html")
    assert browser.run("return document.title") != "bad"
    assert browser.run("return document.getElementById('p').style.color") == ""
    assert len(browser.errors()) >= 3


def test_hostile_names_stay_text(browser: Browser, file: Path) -> None:
    show(browser, file, list="open", square=f"{aggregator_label(HOSTILE)} | mirrored, malicious fraction 20 %")
    assert browser.run("return document.title").startswith("<script>")
    assert browser.run("return document.querySelectorAll('img[src=x], main script, dialog script').length") == 0
    assert "alert(1)" in browser.run("return document.getElementById('square-name').innerText")
    show(browser, file, square="mean | mirrored, malicious fraction 20 %")
    assert "onerror=" in until(browser, "return document.getElementById('square-body').innerText")
    assert browser.errors() == []


def test_squares_show_the_texts_of_the_tables(browser: Browser, folder: Path, file: Path) -> None:
    frame = frames.load(folder)
    tidy = metrics.evaluate(frame)
    (page,) = pages(frame)
    for name, choice in (("accuracy", {}), ("accuracy_damage", {"show": "_damage"})):
        show(browser, file, layout="across", **choice)
        rows = browser.run(f"return {ROWS}.map(r => Array.from(r.cells, c => c.innerText))")
        shown = {row[0].strip(): [" ".join(text.split()) for text in row[1:]] for row in rows}
        (block,) = blocks(
            Pivot(page, tidy), metric_column(name), Pivot(page, tidy).squares(metric_column(name), page.attacks), 100
        )
        for rule, entries in block.rows:
            wanted = [
                "!" if e.text == "?" and "failed" in dict(block.notes).get(e.note, "") else e.text for e in entries
            ]
            assert [text.partition(" (")[0] for text in shown[rule][: len(wanted)]] == wanted, (name, rule)


def test_choosing_filters_and_the_address_tells_it(browser: Browser, file: Path) -> None:
    show(browser, file)
    before = len(texts(browser, "#heatmap button.square"))
    choose(browser, "malicious_fraction", "20 %")
    assert len(texts(browser, "#heatmap button.square")) < before
    assert "malicious fraction 20 %" in texts(browser, "#heatmap caption")[0]
    choose(browser, "target", "4")
    choose(browser, "find", "KRUM")
    assert texts(browser, "#heatmap tbody th") == ["krum"]
    assert len(texts(browser, "#heatmap button.square")) == 2  # clean, and the attack on class 4
    address = browser.run("return location.hash")
    browser.open(f"{file.resolve().as_uri()}{address}")
    until(browser, "return document.querySelectorAll('#heatmap button.square').length === 2")
    assert browser.run("return document.querySelector('[name=find]').value") == "KRUM"
    browser.click("#reset")
    until(browser, f"return document.querySelectorAll('#heatmap button.square').length === {before}")
    assert browser.run("return location.hash") in ("", "#")
    assert browser.errors() == []


def test_a_metric_that_needs_a_class_map_leaves_other_attacks_out(browser: Browser, file: Path) -> None:
    show(browser, file, metric="source_recall")
    assert not any("backdoor" in text for text in texts(browser, "#heatmap th"))
    show(browser, file, metric="attack_success_rate")
    assert any("backdoor" in text for text in texts(browser, "#heatmap th"))


def test_sorting_heatmap_and_list(browser: Browser, file: Path) -> None:
    show(browser, file, layout="across", malicious_fraction="45 %", attack="mirrored")
    column = (
        "return Array.from(document.querySelectorAll('#heatmap tbody tr'), r => r.cells[2].innerText.split('\\n')[0])"
    )
    browser.click("#heatmap thead tr:last-child th:nth-child(3) button")
    time.sleep(0.3)
    found = browser.run(column)
    known = [float(t) for t in found if t[0].isdigit()]
    assert known == sorted(known, reverse=True)
    assert not found[-1][0].isdigit()  # what has no number stands last
    browser.click("#heatmap thead tr:last-child th:nth-child(3) button")
    time.sleep(0.3)
    known = [float(t) for t in browser.run(column) if t[0].isdigit()]
    assert known == sorted(known)
    assert browser.run("return document.querySelectorAll('#heatmap [aria-sort=ascending]').length") == 1
    show(browser, file, list="value")
    values = browser.run(
        "return Array.from(document.querySelectorAll('#list td.best, #list td[title]'), c => parseFloat(c.innerText))"
    )
    numbers = [v for v in values if v is not None and v == v]
    assert numbers == sorted(numbers)
    assert browser.errors() == []


def test_a_square_opens_with_all_that_is_known(browser: Browser, folder: Path, file: Path) -> None:
    show(browser, file, square=ONE, seed="1")
    until(browser, "return Boolean(document.getElementById('command'))")
    body = browser.run("return document.getElementById('square-body').innerText")
    for part in ("attacked", "clean twin", "damage", "Seed 1", "labels flipped", "Configuration", "source recall"):
        assert part.lower() in body.lower(), part
    assert len(texts(browser, "#square svg.chart")) == 2  # accuracy, influence
    assert len(texts(browser, "#square .confusion")) == 2  # attacked, twin
    cells = frames.load(folder)
    cells = cells[cells["status"] != "missing"]
    mine = (cells["aggregator"] == "krum") & (cells["attack"] == "mirrored") & (cells["malicious_fraction"] == 0.2)
    (row,) = cells[mine & (cells["seed"] == 1)].to_dict("records")
    assert texts(browser, "#key") == [row["key"]]
    command = browser.run("return document.getElementById('command').textContent")
    assert command == rerun({"command": "flipbench run attacks"}, cells).command(row)
    assert "seed=1" in shlex.split(command)
    counts = texts(browser, "#square .confusion tbody td")[:100]
    assert [int(c) if c.isdigit() else 0 for c in counts] == row["confusion"][-1].ravel().tolist()
    assert browser.errors() == []


def test_an_infeasible_square_says_why(browser: Browser, file: Path) -> None:
    show(browser, file, square="krum | mirrored, malicious fraction 45 %")
    assert "krum needs more clients" in until(browser, "return document.getElementById('square-body').innerText")
    kinds = browser.run(
        "return Array.from(new Set(Array.from(document.querySelectorAll('.square'), s => s.classList[1])))"
    )
    assert {"done", "infeasible", "failed"} <= set(kinds)


def test_keyboard_alone_moves_opens_and_closes(browser: Browser, file: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(*keys: str) -> None:
        for key in keys:
            ActionChains(browser.driver).send_keys(key).perform()

    show(browser, file, layout="across")
    assert browser.run("return document.querySelectorAll('#heatmap button.square[tabindex=\"0\"]').length") == 1
    browser.run("document.querySelector('#heatmap thead tr:last-child th:last-child button').focus()")
    press(Keys.TAB)
    assert browser.run("return document.activeElement.dataset.at") == "0 0"
    press(Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    label = browser.run("return document.activeElement.getAttribute('aria-label')")
    assert label.startswith("krum, mirrored, malicious fraction 20 %: ")
    press(Keys.ENTER)
    until(browser, "return document.getElementById('square').open && Boolean(document.getElementById('command'))")
    assert "square=" in browser.run("return location.hash")
    assert browser.run("return document.getElementById('square').contains(document.activeElement)")
    press(Keys.ESCAPE)
    until(browser, "return !document.getElementById('square').open")
    assert browser.run("return document.activeElement.getAttribute('aria-label')") == label
    assert "square=" not in browser.run("return location.hash")
    assert browser.errors() == []


def test_back_closes_what_a_click_opened(browser: Browser, file: Path) -> None:
    show(browser, file)
    browser.click("#heatmap button.square.done", 1)
    until(browser, "return document.getElementById('square').open")
    browser.run("history.back()")
    until(browser, "return !document.getElementById('square').open")


def test_dark_and_light(browser: Browser, file: Path) -> None:
    def paper() -> int:
        return sum(map(int, browser.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g)")))

    try:
        browser.emulate(prefers_color_scheme="dark")
        show(browser, file)
        assert paper() < 150
        browser.click("#theme")
        assert paper() > 700
        assert "theme=light" in browser.run("return location.hash")
        browser.emulate(prefers_color_scheme="light")
        show(browser, file, theme="dark")
        assert paper() < 150
    finally:
        browser.emulate()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(browser: Browser, file: Path, width: int) -> None:
    browser.resize(width)
    try:
        for choice in ({}, {"square": ONE}, {"metric": "source_recall", "list": "open", "layout": "down"}):
            show(browser, file, **choice)
            assert browser.run("return document.documentElement.scrollWidth") <= width
            wide = (
                "return Array.from(document.querySelectorAll('#square')).every(d => d.scrollWidth <= d.clientWidth + 1)"
            )
            assert browser.run(wide)
    finally:
        browser.resize(1280)


def test_everything_that_can_be_used_has_a_name(browser: Browser, file: Path) -> None:
    show(browser, file, square=ONE, list="open")
    until(browser, "return Boolean(document.getElementById('command'))")
    unnamed = browser.run("""
    const all = document.querySelectorAll("button, select, input, summary, [role=img], th[scope]");
    const label = e => (e.labels && e.labels[0] ? e.labels[0].textContent : "");
    const name = e => (e.getAttribute("aria-label") || e.textContent || label(e)).trim();
    return Array.from(all).filter(e => !name(e)).map(e => e.outerHTML.slice(0, 120));
    """)
    assert unnamed == []
    assert browser.run("return Array.from(document.querySelectorAll('table')).every(t => t.tBodies.length)")
    assert browser.run("return document.getElementById('said').getAttribute('aria-live')") == "polite"
