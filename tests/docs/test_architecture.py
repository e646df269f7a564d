"""The drawing of imports in docs/architecture.md: it is up to date, complete, and every arrow points down."""

from __future__ import annotations

import re
from graphlib import CycleError
from itertools import pairwise

import pytest

from tests.docs.draw_architecture import DRAWING, PAGE, arranged, edges_drawn, heights, page, reachable, reduced
from tests.helpers.imports import MAY


def test_the_page_is_what_the_script_writes_now() -> None:
    text = PAGE.read_text("utf-8")
    assert page(text) == text, "run `make architecture` and commit docs/architecture.md with its drawing"


def test_the_drawing_has_every_package_and_every_arrow() -> None:
    picture, edges = DRAWING.read_text("utf-8"), edges_drawn()
    assert set(MAY) <= set(edges)
    assert [name for name in edges if f"<!-- {name} -->" not in picture] == []
    arrows = {(name, there) for name, into in reduced(edges).items() for there in into}
    assert set(re.findall(r'id="(\w+)-to-(\w+)"', picture)) == arrows, "run `make architecture`"


def test_every_arrow_points_down() -> None:
    drawing = arranged(edges_drawn())
    for ends, points in drawing.arrows.items():
        assert points[0] == drawing.boxes[ends[0]]
        assert points[-1] == drawing.boxes[ends[1]]
        assert all(above[1] - below[1] == 1 for above, below in pairwise(points)), ends


def test_every_import_points_down_also_where_it_is_not_drawn() -> None:
    edges = edges_drawn()
    level = heights(edges)
    assert [(name, there) for name, into in edges.items() for there in into if level[name] <= level[there]] == []


def test_boxes_of_a_layer_do_not_overlap() -> None:
    boxes = arranged(edges_drawn()).boxes.values()
    for layer in {y for _, y in boxes}:
        assert all(b - a > 1.05 for a, b in pairwise(sorted(x for x, y in boxes if y == layer)))


def test_only_imports_that_others_imply_are_left_out() -> None:
    edges = {"top": {"middle", "low"}, "middle": {"low"}, "low": set(), "alone": {"low"}}
    assert reduced(edges) == {"top": {"middle"}, "middle": {"low"}, "low": set(), "alone": {"low"}}
    assert heights(edges) == {"low": 0, "middle": 1, "alone": 1, "top": 2}
    real = edges_drawn()
    assert all(reachable(reduced(real), name) == reachable(real, name) for name in real)


def test_a_circle_between_packages_cannot_be_drawn() -> None:
    with pytest.raises(CycleError):
        arranged({"one": {"other"}, "other": {"one"}})
