"""Programs as a notebook runs them, and the text that a function or class of one becomes."""

from __future__ import annotations

import linecache
import sys
import textwrap
from types import ModuleType

from flipbench.plugins import objects, registry, source_text


def notebook(source: str, name: str = "<ipython-input-1-abc>", future: bool = False) -> ModuleType:
    """A namespace like a notebook's: code that was run as ``__main__``, whose lines Python still has."""
    main = ModuleType("__main__")
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    flags = 0x1000000 if future else 0
    exec(compile(source, name, "exec", flags=flags, dont_inherit=True), main.__dict__)
    return main


def script(source: str, monkeypatch, cell: str = "<ipython-input-20-s>") -> ModuleType:
    """A notebook that begins with the usual imports."""
    main = notebook("import functools\nimport torch\nimport numpy as np\n" + textwrap.dedent(source), cell)
    monkeypatch.setitem(sys.modules, "__main__", main)
    return main


def again(kind, value):
    """The function or class as another process makes it of the text alone."""
    return registry.resolve(kind, objects.reference(kind, value))


def text_of(value, kind="aggregator"):
    return source_text.text(objects.reference(kind, value))
