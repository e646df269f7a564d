"""What a plug-in's numbers depend on beyond its own file: modules that it imports, the user's own and flipbench's."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from flipbench.plugins import beside, source_text
from flipbench.versions import table as versions


def hash_of_file(path: Path, source: bytes) -> str:
    """SHA-256 of a loose file; with what it imports, where it imports more than installed packages.

    Args:
        path: of the file, resolved.
        source: its bytes.
    """
    helpers = beside.helpers(path, source)
    code = {"": source} | {name: helper.source for name, helper in helpers.items()}
    lines = [
        _line("beside", name, helper.source) for name, helper in helpers.items() if not _says_nothing(helper.source)
    ]
    tops = {name.partition(".")[0] for name in helpers}
    elsewhere: dict[str, bytes] = {}
    for name, text in code.items():
        package = name if name in helpers and helpers[name].is_package else name.rpartition(".")[0]
        names = [n for n in beside.imported(text, package) if n.partition(".")[0] not in tops]
        elsewhere |= reached(names, but=path)
    lines += [_line("uses", name, text) for name, text in sorted(elsewhere.items())]
    return _joined(hashlib.sha256(source), [*lines, *_of_suite([*code.values(), *elsewhere.values()])])


def hash_of_module(own: Mapping[str, bytes], version: str) -> str:
    """SHA-256 of an importable module; with the modules that it reaches, its package's and the user's own.

    Args:
        own: the file of the module, and the file that defines the object: path -> bytes.
        version: of the distribution; empty: not known.
    """
    digest = hashlib.sha256(version.encode())
    for _, content in sorted(own.items()):
        digest.update(hashlib.sha256(content).digest())
    modules = {name: m for name, m in list(sys.modules.items()) if getattr(m, "__file__", None) in own}
    tops = frozenset(name.partition(".")[0] for name in modules) if not version else frozenset[str]()
    names: list[str] = []
    for name, module in modules.items():
        package = name if hasattr(module, "__path__") else name.rpartition(".")[0]
        names += [*source_text.parents(name), *beside.imported(own[str(module.__file__)], package)]
    found = {name: text for name, text in reached(names, tops).items() if name not in modules}
    lines = [_line("uses", name, text) for name, text in sorted(found.items())]
    return _joined(digest, [*lines, *_of_suite([*own.values(), *found.values()])])


def hash_of_text(text: str) -> str:
    """SHA-256 of a function or class that was passed in Python; it names the users' modules that it imports."""
    return _joined(hashlib.sha256(text.encode()), _of_suite([text.encode()]))


def reached(names: Iterable[str], tops: frozenset[str] = frozenset(), but: Path | None = None) -> dict[str, bytes]:
    """The user's own modules among some, with those that they import in turn; those that hold no code are left out.

    Args:
        names: of modules, and of names in modules.
        tops: packages whose modules count though they are installed.
        but: a file that is hashed already.
    """
    found: dict[str, bytes] = {}
    todo = [n for n in names if n]
    while todo:
        name = todo.pop()
        path = source_text.own_file(name) or (_installed(name) if name.partition(".")[0] in tops else None)
        if name in found or path is None or path == but:
            continue
        found[name] = path.read_bytes()
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        todo += [*source_text.parents(name), *beside.imported(found[name], package)]
    return {name: text for name, text in found.items() if not _says_nothing(text)}


def _installed(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    origin = None if spec is None else spec.origin
    return Path(origin) if origin is not None and origin.endswith(".py") else None


def _of_suite(code: Iterable[bytes]) -> list[str]:
    mark = versions.mark_of_code(code)
    return [] if mark is None else [f"flipbench {mark}"]


def _says_nothing(source: bytes) -> bool:
    """Whether a module holds no code: an empty ``__init__.py``, or a docstring alone."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return False
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def _line(how: str, name: str, source: bytes) -> str:
    return f"# {how} {name} sha256:{hashlib.sha256(source).hexdigest()}"


def _joined(digest: hashlib._Hash, lines: list[str]) -> str:
    """The hash as it is, and over more only where there is more: what imports nothing of the kind keeps its hash."""
    for line in lines:
        digest.update(b"\0" + line.encode())
    return digest.hexdigest()
