"""The rules as one writes them first: a few lines, in torch or NumPy alike, on the whole matrix.

Each takes the library (`Torch` or `Numpy`), the updates ``(clients, dim)``, f and the server's own update. They are
what the speed table compares with, not references for correctness. The oracles (`conformance.oracles`) would be no fair
comparison: they loop over clients, coordinates or sets in Python, in float64 and partly in fractions. These work in the
updates' own precision on whole matrices, distances come from plain inner products, and one text serves both libraries.
A rule without a plain form has no such column; `rules.py` checks that each form gives the rule's answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tests.speed.rule_subjects import RADIUS


class Torch:
    """What differs between the two libraries, for torch."""

    sort = staticmethod(lambda x, axis=0: x.sort(dim=axis).values)
    argsort = staticmethod(lambda x, axis=0: x.argsort(dim=axis))
    take = staticmethod(lambda x, index: x.gather(0, index))
    norm = staticmethod(lambda x: torch.linalg.norm(x, axis=-1))
    least = staticmethod(lambda x, most: x.clamp(max=most))
    middle = staticmethod(lambda x: x.sort(dim=0).values[(len(x) - 1) // 2 : len(x) // 2 + 1].mean(0))
    leading = staticmethod(lambda x: torch.linalg.svd(x, full_matrices=False)[2][0])
    draw = staticmethod(torch.randperm)


class Numpy:
    """The same for NumPy."""

    sort = staticmethod(lambda x, axis=0: np.sort(x, axis=axis))
    argsort = staticmethod(lambda x, axis=0: np.argsort(x, axis=axis))
    take = staticmethod(lambda x, index: np.take_along_axis(x, index, 0))
    norm = staticmethod(lambda x: np.linalg.norm(x, axis=-1))
    least = staticmethod(lambda x, most: np.minimum(x, most))
    middle = staticmethod(lambda x: np.median(x, axis=0))
    leading = staticmethod(lambda x: np.linalg.svd(x, full_matrices=False)[2][0])
    draw = staticmethod(lambda n: np.random.default_rng(0).permutation(n))


def mean(xp: Any, x: Any, f: int, own: Any) -> Any:
    return x.mean(0)


def median(xp: Any, x: Any, f: int, own: Any) -> Any:
    return xp.middle(x)


def trimmed_mean(xp: Any, x: Any, f: int, own: Any) -> Any:
    return xp.sort(x)[f : len(x) - f].mean(0)


def _near(xp: Any, x: Any, f: int, centre: Any) -> Any:
    return xp.take(x, xp.argsort(abs(x - centre))[: len(x) - f]).mean(0)


def meamed(xp: Any, x: Any, f: int, own: Any) -> Any:
    return _near(xp, x, f, xp.middle(x))


def phocas(xp: Any, x: Any, f: int, own: Any) -> Any:
    return _near(xp, x, f, trimmed_mean(xp, x, f, own))


def _squares(x: Any) -> Any:
    gram = x @ x.T
    lengths = gram.diagonal()
    return lengths[:, None] + lengths[None, :] - 2 * gram


def _scores(xp: Any, squares: Any, f: int) -> Any:
    return xp.sort(squares, 1)[:, 1 : len(squares) - f - 1].sum(1)


def krum(xp: Any, x: Any, f: int, own: Any) -> Any:
    return x[_scores(xp, _squares(x), f).argmin()] + 0


def multi_krum(xp: Any, x: Any, f: int, own: Any) -> Any:
    return x[xp.argsort(_scores(xp, _squares(x), f))[: len(x) - f - 2]].mean(0)


def bulyan(xp: Any, x: Any, f: int, own: Any) -> Any:
    squares, left, chosen = _squares(x), list(range(len(x))), []
    for _ in range(len(x) - 2 * f):
        count = max(1, len(left) - f - 2)
        scores = xp.sort(squares[left][:, left], 1)[:, 1 : 1 + count].sum(1)
        chosen.append(left.pop(int(scores.argmin())))
    return _near(xp, x[sorted(chosen)], 2 * f, xp.middle(x[sorted(chosen)]))


def geometric_median(xp: Any, x: Any, f: int, own: Any) -> Any:
    y = x.mean(0)
    for _ in range(1000):
        factors = 1 / xp.norm(x - y)
        new = (factors @ x) / factors.sum()
        moved, y = xp.norm(new - y) / xp.norm(y), new
        if moved < 1e-6:
            break
    return y


def norm_clipping(xp: Any, x: Any, f: int, own: Any) -> Any:
    norms = xp.norm(x)
    return (x * xp.least(xp.middle(norms) / norms, 1.0)[:, None]).mean(0)


centered_clipping = norm_clipping  # from a last update of 0, as in a first round


def cge(xp: Any, x: Any, f: int, own: Any) -> Any:
    return x[xp.argsort(xp.norm(x))[: len(x) - f]].mean(0)


def monna(xp: Any, x: Any, f: int, own: Any) -> Any:
    return x[xp.argsort(xp.norm(x - own))[: len(x) - f]].mean(0)


def aksel(xp: Any, x: Any, f: int, own: Any) -> Any:
    return x[xp.argsort(xp.norm(x - xp.middle(x)))[: -(-len(x) // 2)]].mean(0)


def faba(xp: Any, x: Any, f: int, own: Any) -> Any:
    left = list(range(len(x)))
    for _ in range(f):
        left.pop(int(xp.norm(x[left] - x[left].mean(0)).argmax()))
    return x[left].mean(0)


def fltrust(xp: Any, x: Any, f: int, own: Any) -> Any:
    norms, length = xp.norm(x), xp.norm(own)
    cosines = x @ own / (norms * length)
    trust = cosines * (cosines > 0)
    return (trust * length / norms) @ x / trust.sum()


def dnc(xp: Any, x: Any, f: int, own: Any) -> Any:
    sketch = x[:, xp.draw(x.shape[1])[:10_000]]
    around = sketch - sketch.mean(0)
    along = (around @ xp.leading(around)) ** 2
    return x[xp.argsort(along)[: len(x) - f]].mean(0)


def _nnm(xp: Any, x: Any, f: int) -> Any:
    near = xp.argsort(_squares(x), 1)[:, : len(x) - f]
    mixed = x * 0
    for i in range(len(x)):
        mixed[i] = x[near[i]].mean(0)
    return mixed


def _bucketing(xp: Any, x: Any) -> Any:
    return (x[xp.draw(len(x))]).reshape(len(x) // 2, 2, -1).mean(1)


def _clipping(xp: Any, x: Any) -> Any:
    return x * xp.least(RADIUS / xp.norm(x), 1.0)[:, None]


def _arc(xp: Any, x: Any, f: int) -> Any:
    n, norms = len(x), xp.norm(x)
    return x * xp.least(xp.sort(norms)[n - 1 - 2 * f * (n - f) // n] / norms, 1.0)[:, None]


_MIXES: dict[str, Callable[..., Any]] = {
    "nnm": _nnm,
    "bucketing": lambda xp, x, f: _bucketing(xp, x),
    "clipping": lambda xp, x, f: _clipping(xp, x),
    "arc": _arc,
}
_RULES = (
    mean,
    median,
    trimmed_mean,
    meamed,
    phocas,
    krum,
    multi_krum,
    bulyan,
    geometric_median,
    norm_clipping,
    cge,
    monna,
    aksel,
    faba,
    fltrust,
    dnc,
)
PLAIN: dict[str, Callable[..., Any]] = {rule.__name__: rule for rule in _RULES}
PLAIN |= {"fedavg": mean, "centered_clipping": centered_clipping}
DRAWS = {"dnc", "bucketing | trimmed_mean", "bucketing | median"}  # answers that depend on a draw cannot agree


def plain(name: str) -> Callable[[Any, Any, int, Any], Any] | None:
    """The plain form of a rule or chain; null: none is written."""
    *mixes, rule = name.split(" | ")
    if rule not in PLAIN:
        return None

    def run(xp: Any, x: Any, f: int, own: Any) -> Any:
        for mix in mixes:
            x = _MIXES[mix](xp, x, f)
        return PLAIN[rule](xp, x, f, own)

    return run
