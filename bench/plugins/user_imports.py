"""Lets plug-ins import modules of the user's own, from beside their file or from the working folder, after all others.

These folders are on no search path, for a user's files may have any name: ``random.py`` must not take the place of
Python's, and a folder ``pyarrow`` must not look like that package to a library that tries to import it. So they are
searched last, and only for import statements of a user's code or for a reference ``pkg.mod:name``.

What lies beside a plug-in file (`user_modules.beside`) is loaded for that plug-in alone, under a name that begins with
that of the plug-in's module: two folders may each hold another ``helper.py``.
"""

from __future__ import annotations

import builtins
import importlib
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from flipbench.plugins.import_statements import imported

# A file called random.py does not stand for Python's module, nor one called numpy.py for what every plug-in uses.
NEVER = {"flipbench", "numba", "numpy", "pandas", "scipy", "torch", *sys.stdlib_module_names}
_INSTALLED = ("stdlib", "platstdlib", "purelib", "platlib")
PREFIX = "flipbench_plugin_"  # of the names of modules made from loose files and from source text
_IMPORTLIB = {"importlib", "_frozen_importlib", "_frozen_importlib_external"}


@dataclass(frozen=True)
class UserModule:
    """A module of the user's own.

    Attributes:
        path: its file; a folder where it is a package without ``__init__.py``.
        source: its bytes.
        is_package: whether it has modules in it.
    """

    path: Path
    source: bytes
    is_package: bool

    def imports(self, name: str) -> tuple[str, ...]:
        """What it imports, under the name that it has itself."""
        return imported(self.source, name if self.is_package else name.rpartition(".")[0])


class UserFinder:
    """A finder for the end of `sys.meta_path`.

    Attributes:
        folders: searched for every user's import, besides the folder of the importing file.
        beside: module of a plug-in -> the modules beside its file, by name.
    """

    def __init__(self) -> None:
        self.folders: list[str] = []
        self.beside: dict[str, Mapping[str, UserModule]] = {}
        self._homes: dict[str, str] = {}  # module or package at the top -> the folder that it was found in
        self._asked = 0

    @contextmanager
    def searched(self) -> Iterator[None]:
        """Within, every import may come from the users' folders."""
        self._asked += 1
        try:
            yield
        finally:
            self._asked -= 1

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """Called by Python for a module that nothing before found."""
        plugin, _, inner = name.partition(".")
        if inner in self.beside.get(plugin, ()):
            return _spec(plugin, inner, self.beside[plugin][inner])
        if path is not None:  # a part of a package, which says where its parts are
            return None
        importer = _importer(sys._getframe(1))
        home = self._home(importer)
        if home is None and not self._asked:
            return None
        for folder in dict.fromkeys([*([home] if home else []), *self.folders, _working_folder()]):
            if (spec := PathFinder.find_spec(name, [folder])) is not None:
                if importer is not None and home is not None:
                    _check_statement(importer, name)
                self._homes[name] = folder
                return _of_text(spec) or spec
        return None

    def is_asked(self, frame: FrameType | None) -> bool:
        """Whether an import is one of a user's code, or one that a reference asks for."""
        return self._asked > 0 or self._home(_importer(frame)) is not None

    def _home(self, importer: FrameType | None) -> str | None:
        """The folder of the user's code that imports; None where it is not a user's."""
        if importer is None:
            return None
        name = str(importer.f_globals.get("__name__", ""))
        if name.startswith(PREFIX):
            return os.path.dirname(str(importer.f_globals.get("__file__", ""))) or _working_folder()
        return self._homes.get(name.partition(".")[0])


class SourceFinder:
    """Finds the user's own modules where Python does, and has them made of their text.

    A compiled file counts as new by its date in whole seconds and the size of the text: after an edit of a digit within
    one second Python runs the code of before, while the hash is of the new text.
    """

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """Called by Python before it looks for a module itself."""
        if name.partition(".")[0] in NEVER or not finder.is_asked(sys._getframe(1)):
            return None
        return _of_text(PathFinder.find_spec(name, path))


class _TextLoader(SourceFileLoader):
    """Reads and writes no compiled file."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def _of_text(spec: ModuleSpec | None) -> ModuleSpec | None:
    """The way to a module of the user's own, by its text; None for another's."""
    if spec is None or type(spec.loader) is not SourceFileLoader or not is_users(Path(str(spec.origin)).resolve()):
        return None
    spec.loader = _TextLoader(spec.name, str(spec.origin))
    spec.cached = None
    return spec


def is_users(file: Path) -> bool:
    """Whether a resolved file is Python text of the user's own: no part of Python or of an installed package."""
    installed = {Path(p).resolve() for n, p in sysconfig.get_paths().items() if n in _INSTALLED}
    parts = {"site-packages", "dist-packages"} & set(file.parts)
    return file.suffix == ".py" and not parts and not installed & set(file.parents)


finder = UserFinder()
_texts = SourceFinder()


def install(folders: Sequence[str] = ()) -> None:
    """Let plug-ins of this process import from users' folders.

    Args:
        folders: further ones, like that of the running script.
    """
    finder.folders += [folder for folder in folders if folder not in finder.folders]
    if finder not in sys.meta_path:
        sys.meta_path.append(finder)
    if _texts not in sys.meta_path:  # behind what is built in
        sys.meta_path.insert(sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else 0, _texts)


def prepare(module: ModuleType, beside: Mapping[str, UserModule]) -> None:
    """Let a plug-in's module, before it runs, import what lies beside its file.

    Args:
        module: in `sys.modules` under a name of its own.
        beside: of `user_modules.beside`.
    """
    install()
    if beside:
        finder.beside[module.__name__] = beside
        module.__path__ = []  # what makes it a package, for relative imports
        module.__package__ = module.__name__
        module.__dict__["__builtins__"] = _builtins(module.__name__)


def forget(plugin: str) -> None:
    """Remove a plug-in whose module failed, and what was loaded for it."""
    finder.beside.pop(plugin, None)
    for name in [n for n in sys.modules if n == plugin or n.startswith(plugin + ".")]:
        del sys.modules[name]


class _BytesLoader(Loader):
    """Runs a module's bytes as they were hashed; no compiled file is read or written."""

    def __init__(self, plugin: str, module: UserModule) -> None:
        self._plugin, self._module = plugin, module

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = _builtins(self._plugin)
        if self._module.path.suffix == ".py":
            exec(compile(self._module.source, str(self._module.path), "exec", dont_inherit=True), module.__dict__)


def _spec(plugin: str, name: str, module: UserModule) -> ModuleSpec | None:
    loader = _BytesLoader(plugin, module)
    spec = spec_from_loader(f"{plugin}.{name}", loader, origin=str(module.path), is_package=module.is_package)
    if spec is not None:
        spec.has_location = True  # sets __file__
    return spec


def _builtins(plugin: str) -> dict[str, Any]:
    """Python's own names, with an import statement that looks beside the plug-in's file first."""
    beside = finder.beside[plugin]

    def import_(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level or top not in beside:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        whole = importlib.import_module(f"{plugin}.{name}")
        for part in fromlist or ():
            if f"{name}.{part}" in beside and not hasattr(whole, part):
                importlib.import_module(f"{plugin}.{name}.{part}")
        return whole if fromlist else sys.modules[f"{plugin}.{top}"]

    return {**vars(builtins), "__import__": import_}


def _importer(frame: FrameType | None) -> FrameType | None:
    """The code that imports; frames that only pass the import on are left out."""
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name != __name__ and name.partition(".")[0] not in _IMPORTLIB:
            break
        frame = frame.f_back
    return frame


def _check_statement(importer: FrameType, name: str) -> None:
    """Only an import that stands in the text is part of the plug-in's hash.

    Raises:
        ImportError: the code imports the module by other means.
    """
    if not any(said.partition(".")[0] == name for said in importer.f_code.co_names):
        raise ImportError(
            f"{name} is imported without an import statement, so a change of it would not change the keys of cells: "
            f"write 'import {name}' in its place",
            name=name,
        )


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""
