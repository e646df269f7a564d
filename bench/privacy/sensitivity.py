"""How far one client can move the answer of a rule, for the rules of which that is known.

With updates of length at most C and weights of at most w, one client adds a vector of length at most C w to
sum_i w_i x_i, and the answer moves by at most 2 C w where its update is replaced by any other. Where the weights
follow the sizes of clients, all other weights move too; that is counted: the shares w_k and w_k' of the replaced client
move the rest by |w_k - w_k'| C, together at most 2 C max(w_k, w_k').

Of a rule with another answer (a median, Krum) one client may move the answer by 2 C, whatever n is. Noise that hides
that would have to be 1 / w times as strong, so that no ε is stated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flipbench.spec.reference import parse_chain

Options = Mapping[str, Any]


def _clipped_again(options: Options, clip: float) -> float | None:
    """Clipping to a fixed radius behind that to C; the median of the lengths depends on all clients."""
    radius = options.get("radius")
    return None if radius is None else min(1.0, float(radius) / clip)


def _centred(options: Options, clip: float) -> float | None:
    """From a centre that all know each step adds the mean of differences clipped to the radius.

    Projecting on a ball brings no two vectors further apart, and x -> x - projection(x) neither: a step moves the
    answer by at most 2 min(radius, C) / n beyond what the steps before have moved it.
    """
    each = _clipped_again(options, clip)
    return None if each is None else each * int(options.get("steps", 1))


_OF_RULES: Mapping[str, Callable[[Options, float], float | None]] = {
    "fedavg": lambda options, clip: 1.0,
    "mean": lambda options, clip: 1.0,  # 1/n is at most w
    "norm_clipping": _clipped_again,
    "centered_clipping": _centred,
}


def of_rule(aggregator: str, clip: float) -> float | None:
    """What one client can add to the answer of a shipped rule, in multiples of C w; None: not known.

    Args:
        aggregator: a rule with options, or a chain (not known).
        clip: C, the longest update.
    """
    links = parse_chain(aggregator)
    if len(links) > 1 or links[0].name not in _OF_RULES:
        return None
    return _OF_RULES[links[0].name](links[0].options, clip)
