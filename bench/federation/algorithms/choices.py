"""The algorithms that a cell can name, with their options; `docs/definitions.md` has the formulas.

FedProx changes the gradients of local training (`training.optimisers.row_steps`), SCAFFOLD is in `scaffold`, FedNova in
`normalised`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field


@dataclass(frozen=True)
class fedavg:  # noqa: N801 - named in grids like a function
    """Clients send new minus old weights (McMahan et al. 2017)."""


@dataclass(frozen=True)
class fedprox:  # noqa: N801 - named in grids like a function
    """Each client's loss has the term mu/2 |w - global weights|^2 (Li et al. 2020, Algorithm 2).

    Attributes:
        mu: of the term; the paper tries 0.001, 0.01, 0.1 and 1.
    """

    mu: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


@dataclass(frozen=True)
class scaffold:  # noqa: N801 - named in grids like a function
    """Control variates against client drift (Karimireddy et al. 2020, Algorithm 1); the rule aggregates them too.

    Attributes:
        option: a client's new control variate: 2 the mean gradient of its local steps, 1 its gradient at the global
            weights (twice the work).
        malicious: what malicious clients with an attack on updates send as the change of their control variate:
            ``consistent`` with the update that they send, ``attacked`` (the attack is made on the changes too), or
            ``honest``.
    """

    option: Literal[1, 2] = 2
    malicious: Literal["consistent", "attacked", "honest"] = "consistent"


@dataclass(frozen=True)
class fednova:  # noqa: N801 - named in grids like a function
    """Updates are divided by each client's effective number of local steps (Wang et al. 2020, Section 4)."""


ALGORITHMS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {one.__name__: one for one in (fedavg, fedprox, scaffold, fednova)}
)
