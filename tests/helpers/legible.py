"""Whether a figure can be read: its texts large enough, inside, and none on another."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from flipbench.report.figures import style


def texts_drawn(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[Text]:
    """What is really drawn: an axis keeps labels beyond its ends, and leaves them out."""
    found: dict[int, Text] = {}
    original = Text.draw

    def draw(self: Text, renderer: Any) -> None:
        found[id(self)] = self
        original(self, renderer)

    with monkeypatch.context() as patched, style.style():
        patched.setattr(Text, "draw", draw)
        figure.canvas.draw()
    return [t for t in found.values() if t.get_text().strip()]


def assert_legible(name: str, figure: Figure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail with the name of the figure and the text that cannot be read."""
    boxes: list[tuple[Any, str]] = []
    for text in texts_drawn(figure, monkeypatch):
        box = text.get_window_extent()
        assert text.get_fontsize() >= style.SMALL, (name, text.get_text())
        assert box.x0 >= figure.bbox.x0 - 1, (name, text.get_text())
        assert box.x1 <= figure.bbox.x1 + 1, (name, text.get_text())
        assert box.y0 >= figure.bbox.y0 - 1, (name, text.get_text())
        assert box.y1 <= figure.bbox.y1 + 1, (name, text.get_text())
        boxes.append((box.extents.tolist(), text.get_text()))
    for i, ((left, low, right, high), said) in enumerate(boxes):
        for (l2, b2, r2, t2), too in boxes[:i]:
            apart = right <= l2 + 1 or r2 <= left + 1 or high <= b2 + 2 or t2 <= low + 2
            assert apart, (name, said, too)
