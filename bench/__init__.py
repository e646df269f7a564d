"""flipbench: how much do robust aggregators save a federated model when some clients flip labels?

The public Python API; docs/python.md has an example of each name, docs/quickstart.ipynb a session. Nothing is loaded
before it is used: ``import flipbench`` needs neither PyTorch nor pandas.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, which is not imported: ``python -m`` would look in the working folder first
if TYPE_CHECKING:
    from typing import Any

    from flipbench.aggregators.contract import Cohort as Cohort
    from flipbench.aggregators.contract import Infeasible as Infeasible
    from flipbench.api.checks import Checks as Checks
    from flipbench.api.checks import check_aggregator as check_aggregator
    from flipbench.api.checks import check_attack as check_attack
    from flipbench.api.checks import check_part as check_part
    from flipbench.api.grids import read_grid as read_grid
    from flipbench.api.matrices import aggregate as aggregate
    from flipbench.api.planning import Plan as Plan
    from flipbench.api.privacy import epsilon as epsilon
    from flipbench.api.privacy import noise_multiplier as noise_multiplier
    from flipbench.api.results import Results as Results
    from flipbench.api.results import Table as Table
    from flipbench.api.results import load as load
    from flipbench.api.results import summarise as summarise
    from flipbench.api.running import detect as detect
    from flipbench.api.running import plan as plan
    from flipbench.api.running import run as run
    from flipbench.conformance.aggregators import parametrize_with_checks as parametrize_with_checks
    from flipbench.conformance.cases import Defect as Defect
    from flipbench.data.dataset import Dataset as Dataset
    from flipbench.errors import UserError as UserError
    from flipbench.grid.reader import Grid as Grid
    from flipbench.grid.reader import GridError as GridError
    from flipbench.plugins.definitions import SourceError as SourceError

    __version__: str

_HOME = {
    "Cohort": "flipbench.aggregators.contract",
    "Infeasible": "flipbench.aggregators.contract",
    "Checks": "flipbench.api.checks",
    "check_aggregator": "flipbench.api.checks",
    "check_attack": "flipbench.api.checks",
    "check_part": "flipbench.api.checks",
    "read_grid": "flipbench.api.grids",
    "aggregate": "flipbench.api.matrices",
    "Plan": "flipbench.api.planning",
    "epsilon": "flipbench.api.privacy",
    "noise_multiplier": "flipbench.api.privacy",
    "Results": "flipbench.api.results",
    "Table": "flipbench.api.results",
    "load": "flipbench.api.results",
    "summarise": "flipbench.api.results",
    "detect": "flipbench.api.running",
    "plan": "flipbench.api.running",
    "run": "flipbench.api.running",
    "parametrize_with_checks": "flipbench.conformance.aggregators",
    "Defect": "flipbench.conformance.cases",
    "Dataset": "flipbench.data.dataset",
    "UserError": "flipbench.errors",
    "Grid": "flipbench.grid.reader",
    "GridError": "flipbench.grid.reader",
    "SourceError": "flipbench.plugins.definitions",
}  # name -> the module that is loaded when it is used

__all__ = [
    "Checks",
    "Cohort",
    "Dataset",
    "Defect",
    "Grid",
    "GridError",
    "Infeasible",
    "Plan",
    "Results",
    "SourceError",
    "Table",
    "UserError",
    "__version__",
    "aggregate",
    "check_aggregator",
    "check_attack",
    "check_part",
    "detect",
    "epsilon",
    "load",
    "noise_multiplier",
    "parametrize_with_checks",
    "plan",
    "read_grid",
    "run",
    "summarise",
]

if not TYPE_CHECKING:  # a type checker must see no `__getattr__`: it would take every misspelt name

    def __getattr__(name: str) -> Any:
        """Load a public name when it is used for the first time."""
        if name == "__version__":
            from importlib.metadata import PackageNotFoundError, version

            try:
                value: Any = version("flipbench")
            except PackageNotFoundError:  # a folder on PYTHONPATH
                value = "unknown"
        elif name in _HOME:
            from importlib import import_module

            value = getattr(import_module(_HOME[name]), name)
        else:
            raise AttributeError(f"module 'flipbench' has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """The public names."""
        return sorted(__all__)
