"""`results/speed/rules.md` from the JSON of `rules.py`.

python -m tests.speed.rule_table results/speed/rules.json > results/speed/rules.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]
DASH = "–"


def text(told: dict[str, Any]) -> str:
    """The whole page."""
    rows = told["rows"]
    parts = [_head(told), *([_bars(told)] if told["bars"] else [])]
    parts.append(
        "## Time\n\nMilliseconds of the fastest call, and in brackets how many times streaming the matrix once.\n\n"
        + _grid(rows, _time)
    )
    parts.append(
        "## Peak memory\n\nBeyond the input, in multiples of the input; the answer is in it. For inputs under 2 MB "
        "the kernel's count is\ntoo coarse, so these are left out.\n\n"
        + _grid([row for row in rows if row["bytes"] > 2e6], _memory)
    )
    most = max(row["dim"] for row in rows)
    for name, title in (("torch", "plain torch"), ("numpy", "plain NumPy"), ("byzfl", "ByzFL")):
        if any(name in row for row in rows):
            parts.append(_others(rows, name, title))
    parts.append(_overheads(told["calls"]))
    parts.append(_dashes([row for row in rows if "infeasible" in row or row["dim"] == most]))
    return "\n\n".join(parts)


def _head(told: dict[str, Any]) -> str:
    c, other = told["circumstances"], told.get("byzfl")
    versions = f"Python {c['python']}, torch {c['torch']}, NumPy {c['numpy']}"
    against = f", ByzFL {other['byzfl']} on torch {other['torch']} in a process of its own" if other else ""
    return f"""# Speed of the rules

float32, standard normal updates, f = n / 5, one thread. {c["cpu"]} with {c["cores"]} cores; {versions}{against};
commit {c["commit"]}; {c["start"]}, {c["seconds"] / 60:.0f} minutes, load {c["load"]:.1f} before and
{c["load_after"]:.1f} after. Command: `{c["command"]}`.

All in one run; other machines give other seconds, the ratios are what to compare. The plain forms are what one writes
first, on the whole matrix (`tests/speed/rule_plain.py`), and are checked to give the same answers. ByzFL's Krum and
MultiKrum count one neighbour more; its geometric median gets as many steps as bring it within 1e-6 of its end."""


def bars(told: dict[str, Any]) -> Iterator[tuple[str, int, str, str, bool | None]]:
    """Every bar: what, clients, what was asked, what came, and whether it is met (null: could not be measured)."""
    for found in told["bars"]:
        n, s, others = found["clients"], found["seconds"], found["byzfl"]
        stream = s["stream"]
        for name, most in (("median", 5), ("trimmed_mean", 5), ("meamed", 12)):
            ratio = s[name] / stream
            yield name, n, f"at most {most} x the stream", f"{ratio:.1f} x", ratio <= most
        for name in ("median", "trimmed_mean"):
            yield _faster(name, n, others.get(name), 20)
        floor = s["product"] + stream
        for name in ("krum", "multi_krum"):
            yield name, n, "at most 1.5 x (X Xᵀ and the stream)", f"{s[name] / floor:.2f} x", s[name] <= 1.5 * floor
        whole, parts = s["nnm | trimmed_mean"], s["nnm"] + s["trimmed_mean"]
        yield "nnm | trimmed_mean", n, "at most 1.3 x its parts", f"{whole / parts:.2f} x", whole <= 1.3 * parts
        yield _faster("geometric_median", n, others.get("geometric_median"), 5)
    measured = [row for row in told["rows"] if "extra_bytes" in row and row["bytes"] > 2e6]
    for n in sorted({row["clients"] for row in measured}):
        worst = max((r for r in measured if r["clients"] == n), key=lambda r: r["extra_bytes"] / r["bytes"])
        extra = worst["extra_bytes"] / worst["bytes"]
        came = f"{extra:.2f} x ({worst['name']}, {worst['dim']:,})"
        yield "every rule", n, "at most 3 x the input in memory", came, extra <= 3


def _faster(name: str, n: int, other: dict[str, Any] | None, least: int) -> tuple[str, int, str, str, bool | None]:
    asked = f"at least {least} x faster than ByzFL"
    if other is None:
        return name, n, asked, "ByzFL was not there", None
    ratio = other["seconds"] / other["ours"]
    note = f", {other['chain'][0][1]['T']} steps" if name == "geometric_median" else ""
    return name, n, asked, f"{ratio:.1f} x (its {other['array']} path{note})", ratio >= least


def _bars(told: dict[str, Any]) -> str:
    words = {True: "met", False: "**missed**", None: DASH}
    dim = told["bars"][0]["dim"]
    lines = [
        f"## Bars\n\nAt {dim:,} numbers a client; what is compared was run in turn, the fastest of each counts.\n",
        "| rule | clients | asked | came | |",
        "|---|---:|---|---|---|",
    ]
    for name, n, asked, came, met in bars(told):
        lines.append(f"| {_cell(name)} | {n} | {asked} | {_cell(came)} | {words[met]} |")
    return "\n".join(lines)


def _grid(rows: list[Row], say: Callable[[Row], str]) -> str:
    """One line a rule, one column a size."""
    sizes = sorted({(row["dim"], row["clients"]) for row in rows})
    names = list(dict.fromkeys(row["name"] for row in rows))
    by = {(row["name"], row["dim"], row["clients"]): row for row in rows}
    lines = ["| rule | " + " | ".join(f"{n} x {_short(dim)}" for dim, n in sizes) + " |"]
    lines.append("|---|" + "---:|" * len(sizes))
    for name in names:
        cells = [say(by[name, *size]) if (name, *size) in by else "" for size in sizes]
        lines.append(f"| {_cell(name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _time(row: Row) -> str:
    if "infeasible" in row:
        return DASH
    mine = row["rule"]["seconds"]
    return f"{_number(mine * 1e3)} ({_number(mine / row['stream'])})"


def _memory(row: Row) -> str:
    return f"{row['extra_bytes'] / row['bytes']:.2f}" if "extra_bytes" in row else DASH


def _others(rows: list[Row], name: str, title: str) -> str:
    there = {row["name"] for row in rows if "seconds" in row.get(name, {})}
    shown = [row for row in rows if row["name"] in there]

    def say(row: Row) -> str:
        if "infeasible" in row or "seconds" not in row.get(name, {}):
            return DASH
        return _number(row[name]["seconds"] / row["rule"]["seconds"])

    return f"## Times faster than {title}\n\n" + _grid(shown, say)


def _overheads(calls: dict[str, float]) -> str:
    cells = [f"{_cell(name)} {seconds * 1e6:,.0f}" for name, seconds in calls.items()]
    return "## A call on a small model\n\n20 clients, 7,850 numbers each; median microseconds.\n\n" + _wrapped(cells)


def _wrapped(cells: list[str]) -> str:
    lines = [""]
    for cell in cells:
        if len(lines[-1]) + len(cell) > 110:
            lines.append("")
        lines[-1] += f"{cell}, "
    return "\n".join(line.rstrip() for line in lines).rstrip(",") + "."


def _dashes(rows: list[Row]) -> str:
    reasons: dict[str, None] = {}
    for row in rows:
        other = row.get("byzfl", {}).get("none", "")
        if "infeasible" in row:
            reasons[row["infeasible"]] = None
        elif other and other != "ByzFL has no such rule":
            reasons[other] = None
    if not reasons:
        return ""
    return "## Dashes\n\n" + "\n".join(f"* {reason}." for reason in reasons)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"


def _short(dim: int) -> str:
    return f"10^{len(str(dim)) - 1}" if dim == 10 ** (len(str(dim)) - 1) else f"{dim:,}"


def _cell(name: str) -> str:
    return name.replace("|", "\\|")


if __name__ == "__main__":
    print(text(json.loads(Path(sys.argv[1]).read_text())).rstrip())
