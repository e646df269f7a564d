"""Finds the modules that plug-ins import from beside their own file or from the working folder, after all others.

These folders are on no search path, for a user's files may have any name: ``random.py`` must not take the place of
Python's, and a folder ``pyarrow`` must not look like that package to a library that tries to import it. So they are
searched last, and only for imports that stand in a user's code or that a reference ``pkg.mod:name`` asks for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType

PREFIX = "flipbench_plugin_"  # of the names of modules made from loose files and from source text
_IMPORTLIB = {"importlib", "_frozen_importlib", "_frozen_importlib_external"}


class UserModules:
    """A finder for the end of `sys.meta_path`.

    Attributes:
        folders: searched for every user's import, besides the folder of the importing file.
    """

    def __init__(self) -> None:
        self.folders: list[str] = []
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
        if path is not None:  # a part of a package, which says where its parts are
            return None
        home = self._home(sys._getframe(1))
        if home is None and not self._asked:
            return None
        for folder in dict.fromkeys([*([home] if home else []), *self.folders, _working_folder()]):
            if (spec := PathFinder.find_spec(name, [folder])) is not None:
                self._homes[name] = folder
                return spec
        return None

    def _home(self, frame: FrameType | None) -> str | None:
        """The folder of the user's code that imports; None where it is not a user's."""
        while frame is not None:
            importer = str(frame.f_globals.get("__name__", ""))
            root = importer.partition(".")[0]
            if root not in _IMPORTLIB:
                if importer.startswith(PREFIX):
                    return os.path.dirname(str(frame.f_globals.get("__file__", ""))) or _working_folder()
                return self._homes.get(root)
            frame = frame.f_back
        return None


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


finder = UserModules()


def install(folders: Sequence[str] = ()) -> None:
    """Let plug-ins of this process import from users' folders.

    Args:
        folders: further ones, like that of the running script.
    """
    finder.folders += [folder for folder in folders if folder not in finder.folders]
    if finder not in sys.meta_path:
        sys.meta_path.append(finder)
