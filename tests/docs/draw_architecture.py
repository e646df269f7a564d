"""Draws the imports between packages and writes them, with the map of the packages, into docs/architecture.md.

    make architecture

A package stands above all that it imports, so every arrow points down. An import that other arrows already imply
(report to spec, by way of analysis) is left out of the drawing; the table of allowed imports below it is complete.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import combinations, pairwise
from random import Random

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path as Curve

from tests.helpers.imports import FRONT, MAY, PATHS, package, package_edges
from tests.helpers.paths import ROOT

PAGE, DRAWING = ROOT / "docs/architecture.md", ROOT / "docs/architecture.svg"
BEGIN, END = "<!-- begin: written by make architecture -->", "<!-- end: written by make architecture -->"

Edges = Mapping[str, set[str]]
STARTS = 40  # of the search for an order with few crossings

# What a box's colour says, in the order of the legend; a package in none of them has the last colour.
GROUPS: dict[str, tuple[str, set[str]]] = {
    "command line and Python API": ("#f3d9b1", {"cli", "flipbench", "api"}),
    "reads results: pandas, no torch": ("#cfe3f5", {"store", "privacy", "analysis", "report"}),
    "trains: torch, no pandas": ("#d5ecd2", {"plugins", "data", "grid", "training", "federation", "execution"}),
    "rules and attacks: torch, numpy and numba alone": ("#f6cfd3", {"aggregators", "attacks"}),
    "for authors, reproducers, other suites": ("#e4d8ef", {"conformance", "papers", "integrations"}),
    "used by all": ("#e8e8e8", {"spec", "system", "errors"}),
}


def reachable(edges: Edges, start: str) -> set[str]:
    """Every package that one imports, directly or through others."""
    seen: set[str] = set()
    left = list(edges.get(start, ()))
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left += edges.get(name, ())
    return seen


def reduced(edges: Edges) -> dict[str, set[str]]:
    """The edges that no longer path implies (the transitive reduction of a graph without circles)."""
    return {
        name: {there for there in into if not any(there in reachable(edges, other) for other in into - {there})}
        for name, into in edges.items()
    }


def heights(edges: Edges) -> dict[str, int]:
    """Of each package the layer that it stands in: 0 imports nothing of ours, others stand above all they import.

    Raises graphlib.CycleError where packages import each other in a circle.
    """
    found: dict[str, int] = {}
    for name in TopologicalSorter(edges).static_order():
        found[name] = max((found[there] + 1 for there in edges.get(name, ())), default=0)
    return found


@dataclass(frozen=True)
class Drawing:
    """Where every box stands and how every arrow runs.

    Attributes:
        boxes: package -> (x, layer).
        arrows: (importer, imported) -> the points of the line, from the upper box to the lower one.
    """

    boxes: dict[str, tuple[float, float]]
    arrows: dict[tuple[str, str], list[tuple[float, float]]]


def arranged(edges: Edges) -> Drawing:
    """Boxes in layers with few crossings (Sugiyama's method: an arrow over several layers bends in each of them)."""
    arrows, level = reduced(edges), heights(edges)
    lines: dict[tuple[str, str], list[str]] = {}
    for name in sorted(arrows):
        for there in sorted(arrows[name]):
            bends = [f"{name}>{there}@{y}" for y in range(level[name] - 1, level[there], -1)]
            level |= {bend: level[name] - 1 - i for i, bend in enumerate(bends)}
            lines[name, there] = [name, *bends, there]
    links = [pair for line in lines.values() for pair in pairwise(line)]
    rows = [sorted(n for n, y in level.items() if y == layer) for layer in range(max(level.values()) + 1)]
    x = _places(_ordered(rows, links), links)
    boxes = {name: (x[name], float(level[name])) for name in edges}
    return Drawing(boxes, {ends: [(x[n], float(level[n])) for n in line] for ends, line in lines.items()})


def _ordered(rows: list[list[str]], links: list[tuple[str, str]]) -> list[list[str]]:
    """The rows in orders with few crossings and short arrows: the best of some seeded starts, improved by swaps."""
    draw, best, least = Random(0), rows, float("inf")
    for _ in range(STARTS):
        rows = [draw.sample(row, len(row)) for row in rows]
        cost, improved = _cost(rows, links), True
        while improved:
            improved = False
            for row in rows:
                for i, j in combinations(range(len(row)), 2):
                    row[i], row[j] = row[j], row[i]
                    after = _cost(rows, links)
                    if after < cost:
                        cost, improved = after, True
                    else:
                        row[i], row[j] = row[j], row[i]
        if cost < least:
            best, least = [list(row) for row in rows], cost
    return best


def _cost(rows: list[list[str]], links: list[tuple[str, str]]) -> float:
    """Ten for a crossing, one for each place by which an arrow runs sideways."""
    place = {name: (y, i - (len(row) - 1) / 2) for y, row in enumerate(rows) for i, name in enumerate(row)}
    ends = [(place[upper][0], place[upper][1], place[lower][1]) for upper, lower in links]
    crossings = sum(y == v and (a - b) * (c - d) < 0 for (y, a, c), (v, b, d) in combinations(ends, 2))
    return 10 * crossings + sum(abs(a - c) for _, a, c in ends)


def _places(rows: list[list[str]], links: list[tuple[str, str]]) -> dict[str, float]:
    """Where in its row each name stands: near its neighbours, in the given order, no closer than there is room."""
    near: dict[str, list[str]] = {name: [] for row in rows for name in row}
    for upper, lower in links:
        near[upper].append(lower)
        near[lower].append(upper)
    room = {name: 0.5 if "@" in name else 1.15 for name in near}
    x = {name: i - (len(row) - 1) / 2 for row in rows for i, name in enumerate(row)}
    for _ in range(200):
        for row in rows:
            wanted = [sum(x[other] for other in near[name]) / len(near[name]) if near[name] else 0.0 for name in row]
            for _ in range(30):  # those that stand too close are pushed apart, half of the way each
                for i, (a, b) in enumerate(pairwise(row)):
                    lack = (room[a] + room[b]) / 2 - (wanted[i + 1] - wanted[i])
                    if lack > 0:
                        wanted[i], wanted[i + 1] = wanted[i] - lack / 2, wanted[i + 1] + lack / 2
            x |= dict(zip(row, wanted, strict=True))
        middle = sum(x.values()) / len(x)  # mean places alone would drift
        x = {name: place - middle for name, place in x.items()}
    return x


WIDTH, HEIGHT = 1.02, 0.46  # of a box; layers are 1 apart


def figure(drawing: Drawing) -> Figure:
    """The drawing as a matplotlib figure."""
    xs = [x for x, _ in drawing.boxes.values()]
    top = max(y for _, y in drawing.boxes.values())
    wide, high, legend = max(xs) - min(xs) + WIDTH + 0.6, top + HEIGHT + 0.2, 0.7
    fig = Figure(figsize=(1.3 * wide, high + legend))
    ax = fig.add_axes((0, legend / (high + legend), 1, high / (high + legend)))
    ax.set_xlim((min(xs) + max(xs) - wide) / 2, (min(xs) + max(xs) + wide) / 2)
    ax.set_ylim(-HEIGHT / 2 - 0.1, top + HEIGHT / 2 + 0.1)
    ax.axis("off")
    for (name, there), points in drawing.arrows.items():
        _arrow(ax, points).set_gid(f"{name}-to-{there}")
    for name, (x, y) in drawing.boxes.items():
        corner = (x - WIDTH / 2 + 0.05, y - HEIGHT / 2 + 0.05)
        style = "round,pad=0.05,rounding_size=0.06"
        box = FancyBboxPatch(corner, WIDTH - 0.1, HEIGHT - 0.1, style, facecolor=colour(name), edgecolor="#444444")
        ax.add_patch(box)
        rooms = ", ".join(inner(name))
        ax.text(x, y + 0.09 * bool(rooms), name, ha="center", va="center", fontsize=10.5, weight="bold")
        ax.text(x, y - 0.11, rooms, ha="center", va="center", fontsize=6.5)
    patches = [Patch(facecolor=c, edgecolor="#444444", label=label) for label, (c, _) in GROUPS.items()]
    fig.legend(handles=patches, loc="lower center", ncols=2, fontsize=8, frameon=False)
    return fig


def _arrow(ax: Axes, points: list[tuple[float, float]]) -> FancyArrowPatch:
    """A line from the lower edge of the first box to the upper edge of the last, vertical at every point."""
    vertices, codes = [], []
    for (xa, ya), (xb, yb) in pairwise(points):
        above, below = ya - HEIGHT / 2, yb + HEIGHT / 2  # sideways only between the layers
        middle = (above + below) / 2
        vertices += [(xa, above), (xa, middle), (xb, middle), (xb, below)]
        codes += [Curve.LINETO, *[Curve.CURVE4] * 3]
    codes[0] = Curve.MOVETO
    line = FancyArrowPatch(path=Curve(vertices, codes), arrowstyle="-|>", mutation_scale=9, color="#444444", lw=0.9)
    ax.add_patch(line)
    return line


def colour(name: str) -> str:
    """The colour of the package's group."""
    return next((c for c, names in GROUPS.values() if name in names), next(reversed(GROUPS.values()))[0])


def inner(name: str) -> list[str]:
    """The packages inside a package."""
    return sorted(
        {
            m.split(".")[2]
            for m, p in PATHS.items()
            if package(m) == name and m.count(".") == 2 and p.name == "__init__.py"
        }
    )


def edges_drawn() -> dict[str, set[str]]:
    """The real imports between packages; ``__main__`` only calls the command line and is left out."""
    edges = {name: into - {"__main__"} for name, into in package_edges().items() if name != "__main__"}
    joined = set().union(*edges.values())
    return {name: into for name, into in edges.items() if into or name in joined}


def page(before: str) -> str:
    """The page with everything between its two marks written anew."""
    head, rest = before.split(BEGIN)
    return head + BEGIN + "\n" + generated(edges_drawn()) + END + rest.split(END)[1]


def generated(edges: Edges) -> str:
    """What the page says of the packages: the drawing, its arrows as text, the map and the allowed imports."""
    level = heights(edges)
    names = sorted(edges, key=lambda name: (-level[name], name))
    arrows = [f"- {name} → {', '.join(sorted(into))}" for name in names if (into := reduced(edges)[name])]
    rooms = [f"| {_link(name)} | {what} | {who} |" for name in names for what, who in [described(name)]]
    allowed = [f"| {name} | {', '.join(sorted(MAY[name])) or 'no other package'} |" for name in names if name in MAY]
    return "\n".join(
        [
            "![The packages and the imports between them; every arrow points down](architecture.svg)",
            *("", "<details><summary>The arrows as text</summary>", "", *arrows, "", "</details>", ""),
            *("| package | what is there | readers, and how to extend it |", "|---|---|---|", *rooms, ""),
            *("| package | may import |", "|---|---|"),
            *(f"| {name} | every package; no package imports it |" for name in names if name in FRONT | {"flipbench"}),
            *allowed,
            "",
        ]
    )


def described(name: str) -> tuple[str, str]:
    """The first paragraph of a package's docstring, and the one that says who reads it."""
    module = "flipbench" if name == "flipbench" else f"flipbench.{name}"
    paragraphs = (ast.get_docstring(ast.parse(PATHS[module].read_text("utf-8"))) or "").split("\n\n")
    readers = [text for text in paragraphs if text.startswith(("Read by", "To add"))]
    return _cell(paragraphs[0]), _cell(readers[0] if readers else "")


def _cell(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("|", r"\|").split())


def _link(name: str) -> str:
    path = PATHS["flipbench" if name == "flipbench" else f"flipbench.{name}"].relative_to(ROOT)
    return f"[`{name}`](../{path.parent if path.name == '__init__.py' else path})"


def main() -> None:
    """Write the page and its drawing."""
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
    with mpl.rc_context({"svg.hashsalt": "flipbench", "svg.fonttype": "path"}):
        figure(arranged(edges_drawn())).savefig(DRAWING, metadata={"Date": None})


if __name__ == "__main__":
    main()
