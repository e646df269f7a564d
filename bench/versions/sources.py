"""The source files of flipbench that numbers depend on: which there are, what they hold, and which make the engine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

from flipbench.errors import UserError
from flipbench.versions import syntax

# Whole packages, then single modules. A rule, an attack and the like is found in them by its name.
PACKAGES = (
    *("flipbench.aggregators", "flipbench.attacks"),
    *("flipbench.data", "flipbench.federation", "flipbench.training"),
)
MODULES = ("flipbench.spec.cell", "flipbench.spec.seeds", "flipbench.spec.twins", "flipbench.plugins.other_suites")

# Counted with the rules and attacks that reach them, not with the engine.
_OF_ENTRIES = (
    *("flipbench.aggregators.rules", "flipbench.aggregators.numerics"),
    *("flipbench.attacks.labels", "flipbench.attacks.examples", "flipbench.attacks.updates"),
)
_NO_NUMBERS = {  # registries, places of files, what is written about a cell
    *("flipbench.aggregators", "flipbench.attacks"),
    *("flipbench.data.downloads", "flipbench.data.locations"),
    *("flipbench.federation.records", "flipbench.federation.checkpoints.files"),
}


def in_engine(module: str) -> bool:
    """Whether a module belongs to the engine: what all cells share, apart from shipped rules, attacks and the like."""
    return module not in _NO_NUMBERS and not in_library(module)


def in_library(module: str) -> bool:
    """Whether a module holds rules and attacks, and what they share; the engine has the parts of it that it uses."""
    return module.startswith(_OF_ENTRIES)


@cache
def files() -> dict[str, Path]:
    """Module -> its file, of all that numbers depend on; sorted."""
    found = dict(pair for package in PACKAGES for pair in _of_package(package))
    found |= {module: _folder("flipbench") / f"{module.partition('.')[2].replace('.', '/')}.py" for module in MODULES}
    return dict(sorted(found.items()))


def _of_package(package: str) -> Iterator[tuple[str, Path]]:
    folder = _folder(package)
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        yield ".".join((package, *parts)).removesuffix(".__init__"), path


@cache
def _folder(package: str) -> Path:
    spec = find_spec(package)
    return Path(next(iter(spec.submodule_search_locations or ()))) if spec else Path()


_first: dict[str, bytes] = {}  # what the files held when this process looked first


class SourceChangedError(UserError):
    """Files of flipbench are not what this process has loaded, so its numbers would not belong to their keys."""


@lru_cache(maxsize=1)
def contents() -> Mapping[str, bytes]:
    """Module -> the bytes of its file, read once (`forget` lets them be read again).

    Raises:
        SourceChangedError: they are not what they were when this process read them first.
    """
    held = {module: path.read_bytes() for module, path in files().items() if path.is_file()}
    if not _first:
        _first.update(held)
    if changed := sorted(m for m in held.keys() | _first.keys() if held.get(m) != _first.get(m)):
        raise SourceChangedError(
            f"{files()[changed[0]] if changed[0] in files() else changed[0]} changed while this program was running, "
            "and it may hold the former code: start the program (or the kernel of the notebook) again"
        )
    return held


def forget() -> None:
    """Read the files again when they are asked for."""
    contents.cache_clear()


def digest(source: bytes) -> str:
    """16 hexadecimal digits of a file's SHA-256."""
    return hashlib.sha256(source).hexdigest()[:16]


def read(module: str) -> syntax.Module | None:
    """What a module's source says; None for a module that no number depends on, or that is no Python now."""
    source = contents().get(module)
    if source is None:
        return None
    try:
        return syntax.parse(source, module, files()[module].name == "__init__.py")
    except (SyntaxError, ValueError):
        return None
