"""What the speed table compares: every rule and pre-aggregation chain, plain forms of them, and ByzFL's names."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flipbench import aggregators
from flipbench.aggregators import Cohort

CLIENTS = (10, 20, 50, 100)
DIMS = (10_000, 100_000, 1_000_000)
RADIUS = 30.0


def updates(n: int, dim: int, spread: bool = False) -> Tensor:
    """Standard normal ``(n, dim)`` float32; ``spread``: clients of different lengths, a fifth of them moved by 1."""
    x = torch.randn(n, dim, generator=torch.Generator().manual_seed(n))
    if spread:
        x *= torch.linspace(0.1, 3, n).unsqueeze(1)
        x[: n // 5] += 1.0
    return x


def cohort_for(x: Tensor) -> Cohort:
    """f = n / 5; with a server's own update and an output layer of ten classes."""
    n, dim = x.shape
    own, width = torch.randn(dim, generator=torch.Generator().manual_seed(0)), dim // 100
    layout = {
        "rest": (slice(0, dim - 10 * width), (dim - 10 * width,)),
        "out": (slice(dim - 10 * width, dim), (10, width)),
    }
    return Cohort.of(x, n // 5, trusted=lambda: own, layout=layout)


def subjects() -> dict[str, Callable[..., Any]]:
    """Every rule, and every pre-aggregation with a trimmed mean and with a plainer rule behind it."""
    mixes = aggregators.PREAGGREGATIONS | {"clipping": partial(aggregators.clipping, radius=RADIUS)}
    behind = {"nnm": "krum", "bucketing": "median", "clipping": "mean", "arc": "mean"}
    pairs = [(mix, rule) for mix in mixes for rule in ("trimmed_mean", behind.get(mix, "mean"))]
    chains = {f"{mix} | {rule}": aggregators.compose(mixes[mix], aggregators.RULES[rule]) for mix, rule in pairs}
    return {name: _called(rule) for name, rule in aggregators.RULES.items()} | chains


def _called(rule: Any) -> Callable[..., Any]:
    if not isinstance(rule, type):
        return rule
    one = rule()
    return lambda x, cohort: one(x, cohort, one.init(x, cohort))[0]


def byzfl_chain(name: str, n: int, steps: int) -> list[tuple[str, dict[str, Any]]] | str:
    """ByzFL's classes and options for one of our names, or the reason why there is none.

    Args:
        name: ours.
        n: clients; f is n / 5.
        steps: for its geometric median, which has a number of steps instead of a tolerance.
    """
    f = n // 5
    known: dict[str, tuple[str, dict[str, Any]]] = {
        "mean": ("Average", {}),
        "median": ("Median", {}),
        "trimmed_mean": ("TrMean", {"f": f}),
        "krum": ("Krum", {"f": f}),
        "multi_krum": ("MultiKrum", {"f": f}),
        "geometric_median": ("GeometricMedian", {"T": steps}),
        "meamed": ("Meamed", {"f": f}),
        "mda": ("MDA", {"f": f}),
        "centered_clipping": ("CenteredClipping", {"tau": 1000.0}),
        "caf": ("CAF", {"f": f}),
        "monna": ("MoNNA", {"f": f}),
        "nnm": ("NNM", {"f": f}),
        "bucketing": ("Bucketing", {"s": 2}),
        "clipping": ("Clipping", {"c": RADIUS}),
        "arc": ("ARC", {"f": f}),
    }
    parts = name.split(" | ")
    if any(part not in known for part in parts):
        return "ByzFL has no such rule"
    if name == "mda" and math.comb(n, f) > 20_000:
        return f"ByzFL's MDA looks at all C({n}, {f}) = {math.comb(n, f):.1e} sets"
    return [known[part] for part in parts]


def weiszfeld_steps(x: Tensor, least: float = 0.1, tolerance: float = 1e-6) -> int:
    """After how many steps from the origin ByzFL's Weiszfeld iteration is within 1e-6 of its end.

    The iteration is played on the inner products, in float64; the distance to the end is told as a share of its norm.

    Args:
        x: ``(clients, dim)``.
        least: the distance that counts at least (ByzFL's ``nu``).
        tolerance: relative.
    """

    gram = sum((b @ b.T for b in x.double().split(4096, dim=1)), torch.zeros(len(x), len(x)).double())
    at, path = torch.zeros(len(x)).double(), []
    for _ in range(500):
        far = (gram.diagonal() - 2 * gram @ at + at @ gram @ at).clamp(min=0).sqrt().clamp(min=least)
        at = 1 / far / (1 / far).sum()
        path.append(at)
    norm = (at @ gram @ at).sqrt()
    apart = [((p - at) @ gram @ (p - at)).clamp(min=0).sqrt() for p in path]
    return 1 + next(i for i, distance in enumerate(apart) if distance <= tolerance * norm)
