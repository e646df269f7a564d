"""Seconds of ByzFL's aggregators, one thread; run by `rules.py` with the interpreter of an environment that has byzfl.

Answers line by line, so that it can be asked right beside the rule it is compared with: in comes a JSON object
``{"clients", "dim", "spread", "budget", "chain": [[class, options], ...]}``, out goes one with the seconds of the
fastest call, how many were made, and the kind of array. The first line out tells the versions.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from typing import Any

import torch


def updates(n: int, dim: int, spread: bool) -> torch.Tensor:
    """The same as in `rule_subjects`, which this interpreter cannot import."""
    x = torch.randn(n, dim, generator=torch.Generator().manual_seed(n))
    if spread:
        x *= torch.linspace(0.1, 3, n).unsqueeze(1)
        x[: n // 5] += 1.0
    return x


def fastest(chain: list[Any], given: Any, budget: float) -> tuple[float, int]:
    """Seconds of the fastest of a few calls; each gets a copy, as some of them write into it."""
    times: list[float] = []
    while not times or (sum(times) < budget and len(times) < 20):
        x = given.clone() if isinstance(given, torch.Tensor) else given.copy()
        start = time.perf_counter()
        for step in chain:
            x = step(x)
        times.append(time.perf_counter() - start)
    return min(times), len(times)


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """One case; where the torch path refuses, ByzFL's NumPy path is taken."""
    import byzfl

    def chain() -> list[Any]:
        return [getattr(byzfl, name)(**options) for name, options in case["chain"]]

    x = updates(case["clients"], case["dim"], case["spread"])
    try:
        seconds, calls = fastest(chain(), x, case["budget"])
        return {"seconds": seconds, "calls": calls, "array": "torch"}
    except RuntimeError as error:  # torch.quantile of older versions, above 16 million elements
        why = str(error).splitlines()[0]
    seconds, calls = fastest(chain(), x.numpy(), case["budget"])
    return {"seconds": seconds, "calls": calls, "array": "numpy", "why": why}


def main() -> None:
    """Standard input to standard output."""
    torch.set_num_threads(1)
    print(json.dumps({"byzfl": version("byzfl"), "torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
