"""Loads a user's code: a loose file, a module, source text or an entry point; each failure is one clear message."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import linecache
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from flipbench.errors import UserError
from flipbench.plugins import source_text, user_imports, user_modules
from flipbench.plugins.user_imports import UserModule
from flipbench.spec.suggestions import near
from flipbench.system import exception_text
from flipbench.system.process_settings import Snapshot


class PluginFileError(UserError):
    """A plug-in that is not there or does not load; the message names file and line."""


def from_file(name: str) -> Any:
    """The object that ``path/file.py:attribute`` names; the path counts from the current folder.

    The module's name is made from path and content, so it shadows nothing and an edited file is loaded anew; so are
    the modules beside it that it imports (`plugins.user_imports`).
    """
    path, attribute = _split(name)
    source = read_bytes(path)
    where = place(path).resolve()
    beside = user_modules.beside(where, source)
    digest = hashlib.sha256(str(where).encode() + b"\0" + source)
    for module in beside.values():
        digest.update(b"\0" + str(module.path).encode() + b"\0" + module.source)
    loaded = _module(user_imports.PREFIX + digest.hexdigest()[:24], source, str(where), path, beside)
    return _attribute(loaded, attribute, path)


def from_text(name: str) -> Any:
    """The object that ``code_<hash>:attribute`` names: a function or class that was passed in Python."""
    attribute = _split(name)[1]
    return _attribute(text_module(name), attribute, attribute)


def text_module(name: str) -> ModuleType:
    """The module that the source text behind ``code_<hash>:attribute`` defines."""
    source = source_text.text(name)
    module, attribute = _split(name)
    where = f"<{attribute} of {module}>"
    linecache.cache[where] = (len(source), None, source.splitlines(keepends=True), where)  # tracebacks show its lines
    loaded = _module(user_imports.PREFIX + module, source.encode(), where, attribute)
    if changed := source_text.changed(source):
        raise PluginFileError(
            f"{attribute} imports {' and '.join(changed)}, which changed since the grid was read: read the grid again"
        )
    return loaded


def _module(
    name: str, source: bytes, where: str, path: str, beside: Mapping[str, UserModule] = MappingProxyType({})
) -> ModuleType:
    """The module of a source, made once a process.

    Args:
        name: in `sys.modules`; made from the content.
        source: what it is made of.
        where: its file, for tracebacks.
        path: as the user wrote it, for messages.
        beside: modules beside its file that it may import.
    """
    module = sys.modules.get(name)
    if module is None:
        module = ModuleType(name)
        module.__file__ = where
        user_imports.prepare(module, beside)
        try:
            with _settings_kept(path):
                sys.modules[name] = module  # before it runs: dataclasses look their module up
                exec(_compiled(source, where, path), module.__dict__)
        except BaseException as error:
            user_imports.forget(name)
            # A user's file can raise anything, sys.exit included; only an interrupt is not its own.
            if isinstance(error, KeyboardInterrupt | UserError):
                raise
            raise PluginFileError(_why(error, path, where, beside)) from error
    return module


def from_module(name: str) -> Any:
    """The object that ``pkg.mod:attribute`` or ``code_<hash>:attribute`` names."""
    if source_text.is_code(name):
        return from_text(name)
    module, attribute = _split(name)
    return _attribute(_imported(module, name), attribute, module)


def from_entry_point(point: EntryPoint) -> Any:
    """The object that an installed package offers."""
    loaded: Any = _imported(point.module, point.value)
    for part in (point.attr or "").split("."):
        loaded = _attribute(loaded, part, point.value) if part else loaded
    return loaded


def read_bytes(path: str) -> bytes:
    """The file's bytes, or a message that says where it was looked for."""
    try:
        return place(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PluginFileError(
            f"the plug-in file {path} cannot be read ({reason}); looked at {place(path).absolute()}, "
            "paths count from the folder that flipbench runs in"
        ) from error


def place(path: str) -> Path:
    """Where the file of a plug-in lies: ``~/`` is the home folder."""
    return Path(os.path.expanduser(path) if path.startswith("~/") else path)


def _split(name: str) -> tuple[str, str]:
    left, _, attribute = name.rpartition(":")
    return left, attribute


def _compiled(source: bytes, where: str, path: str) -> Any:
    try:
        return compile(source, where, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise PluginFileError(f"{path}:{line}: {getattr(error, 'msg', None) or error}") from error


_refused: dict[str, str] = {}  # modules that changed settings when they were imported, which happens once: why


@contextmanager
def _settings_kept(path: str) -> Iterator[None]:
    """Settings of the process are after the load of a plug-in what they were before.

    Raises:
        PluginFileError: it changed one that numbers depend on. What imports change too (global generators, environment
            variables, warning filters) is set back without a word.
    """
    before = Snapshot()
    try:
        yield
    finally:
        changed = before.set_back()
    if changed:
        raise PluginFileError(
            f"{path} changes {' and '.join(changed)} when it is loaded, and other cells would be computed differently: "
            "remove that line, and give dtypes, devices and paths where they are used"
        )


def _imported(module: str, name: str) -> ModuleType:
    if module in _refused:
        raise PluginFileError(_refused[module])
    user_imports.install()
    try:
        with _settings_kept(module), user_imports.finder.searched():
            return importlib.import_module(module)
    except BaseException as error:
        if isinstance(error, PluginFileError):
            _refused[module] = str(error)
        if isinstance(error, KeyboardInterrupt | PluginFileError):
            raise
        if isinstance(error, ModuleNotFoundError) and error.name and (module + ".").startswith(error.name + "."):
            raise PluginFileError(
                f"{name}: there is no module {error.name!r} here; install its package, add its folder to PYTHONPATH, "
                "or name the file as 'path/file.py:name'"
            ) from error
        raise PluginFileError(_why(error, name, None)) from error


def _attribute(holder: Any, attribute: str, path: str) -> Any:
    if hasattr(holder, attribute):
        return getattr(holder, attribute)
    public = [n for n in vars(holder) if not n.startswith("_")] if hasattr(holder, "__dict__") else []
    raise PluginFileError(f"{path} has no {attribute!r}{near(attribute, public)}")


_FORMER = ("aggregators", "attacks", "bench")  # import packages of flipbench before they became `flipbench`
_FOLDERS = ("aggregators.rules", "aggregators.numerics", "attacks.labels", "attacks.examples", "attacks.updates")
_MOVED = {
    "aggregators.guard": "flipbench.aggregators.validation",
    "aggregators.draws": "flipbench.aggregators.rng",
    "bench.conformance": "flipbench.conformance.aggregators",
    "bench.conformance_attacks": "flipbench.conformance.attacks",
    "bench.features": "flipbench.data.pixel_scaling",
    "bench.flower": "flipbench.integrations.flower",
    "bench.kappa": "flipbench.conformance.kappa",
}


def _moved(error: BaseException, line: str) -> str | None:
    """What to write in place of an import of a package's former name; None for any other error."""
    if not isinstance(error, ImportError) or (error.name or "").split(".")[0] not in _FORMER:
        return None
    imported = re.search(r"\b(?:from|import)\s+((?:aggregators|attacks|bench)(?:\.\w+)*)(.*)", line)
    old, rest = (imported[1], imported[2]) if imported else (str(error.name), "")
    new = _MOVED.get(old) or _where(old)
    verb = "import" if line.lstrip().startswith("import") else "from"
    return f"there is no module {old!r}: flipbench's packages are imported as flipbench, write '{verb} {new}{rest}'"


def _where(old: str) -> str:
    """The module that a former name means: under flipbench as it was, else in one of the folders that came later."""
    last = old.rpartition(".")[2]
    plain = "flipbench" + ("" if old == "bench" else "." + old.removeprefix("bench."))
    names = [plain, *(f"flipbench.{folder}.{last}" for folder in _FOLDERS)]
    return next((name for name in names if _is_module(name)), ".".join(plain.split(".")[:2]))


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:  # the package before the last dot is none
        return False


def _why(
    error: BaseException, path: str, where: str | None, beside: Mapping[str, UserModule] = MappingProxyType({})
) -> str:
    """File, line and reason: the line of the user's file where it has one in the traceback, else the last line."""
    frames = traceback.extract_tb(error.__traceback__)
    mine = {where: path} | {str(module.path): str(module.path) for module in beside.values()}
    own = [f for f in frames if f.filename in mine] or [f for f in frames if "importlib" not in f.filename]
    file, line = (mine.get(own[-1].filename, path if where else own[-1].filename), own[-1].lineno) if own else (path, 1)
    if isinstance(error, SyntaxError) and error.filename:  # of a module that the plug-in imports
        file, line = error.filename, error.lineno
    reason = _moved(error, own[-1].line or "" if own else "") or exception_text.with_type(error)
    return f"{file}:{line}: {reason}"
