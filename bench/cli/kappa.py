"""``flipbench kappa``: a table, a CSV file and one figure of how far f malicious clients move each rule."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from flipbench.conformance import kappa
from flipbench.conformance.kappa import Finding
from flipbench.errors import UserError
from flipbench.plugins import first_load, registry
from flipbench.report.figures import style
from flipbench.report.figures.layout import Sheet, grid, wrapped
from flipbench.spec.labels import aggregator_label

FIELDS = ("rule", "clients", "byzantine", "kappa", "battery", "attack", "bound", "lower", "infeasible")
DEFAULT = ("fedavg", "krum", "median", "trimmed_mean", "geometric_median", "nnm | trimmed_mean")
_HIGH = 2.3  # inches, of a panel
_HUGE = 1e6  # where the axis ends: a rule beyond has no bound worth reading
_LEAST = 1e-2


def findings(
    rules: Sequence[str],
    clients: Sequence[int],
    seed: int,
    steps: int,
    started: Callable[[str], None] = lambda line: None,
) -> list[Finding]:
    """Every rule at every n and f, rule by rule.

    Args:
        rules: references; empty: a default choice.
        clients: the values of n.
        seed: of battery and search.
        steps: of the search.
        started: called with each rule's name before it is measured.

    Raises:
        UserError: an unknown rule (before anything is measured), fewer than 3 clients, negative steps.
    """
    chosen = list(dict.fromkeys(rules)) or list(DEFAULT)
    pairs = kappa.settings(sorted(set(clients)))
    if steps < 0:
        raise UserError(f"--steps is the number of search steps, at least 0; got {steps}")
    for rule in chosen:
        first_load.check("aggregator", rule)
        registry.resolve("aggregator", rule)
    results = []
    for rule in chosen:
        started(rule)
        results += [kappa.estimate(rule, n, f, seed=seed, steps=steps) for n, f in pairs]
    return results


def text(results: Sequence[Finding]) -> str:
    """One block an n: rules down, f across; each square ``kappa (bound)``."""
    blocks = []
    for n in sorted({x.clients for x in results}):
        here = [x for x in results if x.clients == n]
        across = sorted({x.byzantine for x in here})
        lines = [[f"n = {n}", *(f"f = {f}" for f in across)]]
        for rule in dict.fromkeys(x.rule for x in here):
            by_f = {x.byzantine: x for x in here if x.rule == rule}
            lines.append([rule, *(_square(by_f[f]) for f in across)])
        lowers = {x.byzantine: x.lower for x in here}
        lines.append(["no rule below", *(f"{lowers[f]:.3g}" for f in across)])
        widths = [max(len(line[i]) for line in lines) for i in range(len(across) + 1)]
        blocks.append("\n".join("  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in lines))
    notes = [
        "kappa found (published upper bound): |rule - honest mean|^2 over the honest variance, at the worst of a",
        "battery of attacks and of a search from there. It is a lower bound on the rule's kappa; – infeasible",
        *(f"! {x.rule}, n = {x.clients}, f = {x.byzantine}: above its published bound" for x in results if above(x)),
    ]
    return "\n\n".join([*blocks, "\n".join(notes)])


def above(one: Finding) -> bool:
    """Whether what was found contradicts the published bound."""
    return one.bound is not None and one.kappa > one.bound * (1 + 1e-9)


def csv_text(results: Sequence[Finding]) -> str:
    """The findings as CSV, one row each, floats in their shortest exact form."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FIELDS)
    for one in results:
        writer.writerow([_plain(getattr(one, name)) for name in FIELDS])
    return out.getvalue()


def draw(results: Sequence[Finding]) -> Figure:
    """Kappa over f / n, a panel an n: solid what was found, dotted the published bound, grey what no rule undercuts."""
    sizes, rules = sorted({x.clients for x in results}), list(dict.fromkeys(x.rule for x in results))
    values = [v for x in results for v in (x.kappa, x.lower) if math.isfinite(v)]
    ceiling = min(_HUGE, 10 ** math.ceil(math.log10(3 * max([*values, 10.0]))))
    with style.style():
        sheet = Sheet(grid(len(sizes), len(sizes), _HIGH), gap=0.3)
        for (ax, leftmost, _), n in zip(sheet.panels, sizes, strict=True):
            ax.set_yscale("log")
            ax.set(xlim=(0, 0.5), ylim=(_LEAST, ceiling), title=f"{n} clients", xlabel="malicious fraction f / n")
            ax.set_ylabel("κ found" if leftmost else "")
            ax.tick_params(labelleft=leftmost)
            ax.yaxis.set_major_formatter(lambda v, _: f"≥ {v:,.0f}" if v >= _HUGE else f"{v:,g}")
            ax.yaxis.set_minor_locator(NullLocator())
            style.lines_behind(ax, "y")
            counts = range(1, (n + 1) // 2)
            ax.plot([f / n for f in counts], [f / (n - 2 * f) for f in counts], color="0.7", linewidth=2.4)
            for place, rule in enumerate(rules):
                line = [x for x in results if x.rule == rule and x.clients == n and not x.infeasible]
                ax.plot(
                    [x.byzantine / n for x in line],
                    [min(x.kappa, ceiling) for x in line],
                    clip_on=False,
                    **_look(place),
                )
                bounded = [(x.byzantine / n, x.bound) for x in line if x.bound is not None]
                colour = _look(place)["color"]
                ax.plot([b[0] for b in bounded], [b[1] for b in bounded], color=colour, linewidth=0.9, linestyle=":")
        names = [wrapped(aggregator_label(rule), 1.6, style.SMALL) for rule in rules]
        keys = [Line2D([], [], label=name, **_look(place)) for place, name in enumerate(names)]
        keys.append(Line2D([], [], color="0.3", linewidth=0.9, linestyle=":", label="published upper bound"))
        keys.append(Line2D([], [], color="0.7", linewidth=2.4, label="no rule can be below"))
        return sheet.finish(legend=keys)


def write(results: Sequence[Finding], folder: Path) -> list[Path]:
    """Write ``kappa.csv``, ``kappa.svg`` and ``kappa.png``.

    Raises:
        UserError: the folder cannot be written.
    """
    contents = {"kappa.csv": csv_text(results).encode()}
    contents |= {f"kappa{suffix}": data for suffix, data in style.files(draw(results)).items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in contents.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{folder} cannot be written ({reason}): name another folder with --out") from error
    return [folder / name for name in contents]


def _look(place: int) -> dict[str, Any]:
    """Colour and marker of the rule in this place of the legend."""
    shape = style.MARKERS[(place + place // 7) % len(style.MARKERS)]
    return {
        "color": style.COLOURS[place % len(style.COLOURS)],
        "marker": shape,
        "markersize": 3.5,
        "linewidth": 1.1,
    }


def _square(one: Finding) -> str:
    if one.infeasible:
        return "–"
    value = f"{one.kappa:.3g}" if one.kappa < 1e4 else f"{one.kappa:.0e}"
    return value if one.bound is None else f"{value} ({one.bound:.3g})"


def _plain(value: object) -> object:
    """No value is empty; text that a spreadsheet would take for a formula is quoted."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
