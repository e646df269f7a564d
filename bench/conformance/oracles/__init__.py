"""Oracles: every shipped rule once more, straight from its definition, as a plain float64 loop.

An oracle takes one cell, rows ``(clients, dim)`` float64, and what the cohort says beside them, and gives the answer
``(dim,)``. It shares nothing with `flipbench.aggregators` and imports nothing of it. ``@definition`` puts an oracle
into `DEFINITIONS` and says beside it all that the kit and the tests ask about the rule: how many clients it needs, how
near an answer must be, what it is excused from and why.

To add one: a function under ``@definition`` (``@preaggregation``) in the module of its kind.
"""

from __future__ import annotations

from flipbench.conformance.oracles import by_coordinate, by_direction, by_distance, by_spectrum
from flipbench.conformance.oracles.definition import DEFINITIONS, MIXES, CohortValues, Definition, Mix, Numbers, Oracle

__all__ = [
    "DEFINITIONS",
    "MIXES",
    "CohortValues",
    "Definition",
    "Mix",
    "Numbers",
    "Oracle",
    "by_coordinate",
    "by_direction",
    "by_distance",
    "by_spectrum",
]
