"""Guards every call of a plug-in: it works on copies, and what it changes elsewhere is set back and reported.

A cell's numbers must not depend on what other cells ran. So code that does not come with flipbench never holds an
array that anything else uses, and the settings of the process (`system.process_settings`) are the same after a call as
before it::

    with guard.foreign(rule, "rules/mine.py:my_rule") as call:
        update = rule(call.lend("the updates", updates), call.lend("cohort", cohort))

A plug-in that writes into what it is given, or leaves a setting changed, raises `SideEffectError` there: its own cell
fails, with a sentence that names it and what it changed. For code of flipbench's own the guard does nothing, and
`lend` gives what it is given: tests see to it that shipped rules and attacks change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from types import ModuleType, TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor

from flipbench.errors import UserError
from flipbench.plugins.other_suites import ForeignRule
from flipbench.spec.reference import CODE, parse_chain
from flipbench.system.process_settings import GENERATORS, Snapshot

Value = TypeVar("Value")
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class SideEffectError(UserError):
    """A plug-in changed what it was given, or a setting that other cells depend on; the message names both."""


def is_ours(code: Any) -> bool:
    """Whether a callable is flipbench's own, with all that it is made of: bound arguments, links of a chain."""
    if isinstance(code, partial):
        return is_ours(code.func) and all(is_ours(v) for v in (*code.args, *code.keywords.values()) if callable(v))
    if isinstance(code, ForeignRule):
        return False
    if (inner := getattr(code, "inner", None)) is not None:  # of `training.plugin_answers`
        return is_ours(inner)
    owner = getattr(code, "__self__", None)  # of a method
    if owner is not None and not isinstance(owner, type | ModuleType):
        return is_ours(owner)
    module = code.__module__ if hasattr(code, "__qualname__") else type(code).__module__
    if str(module).split(".")[0] != "flipbench":
        return False
    held = vars(code).values() if is_dataclass(code) and not isinstance(code, type) else ()
    parts = (part for value in held for part in (value if isinstance(value, tuple) else (value,)))
    return all(is_ours(part) for part in parts if callable(part))


def name_of(ref: str) -> str:
    """A reference as messages name a plug-in: of a chain its plug-ins, without the hash of a function from Python."""
    try:
        links = parse_chain(ref)
    except UserError:
        return ref
    chosen = [link for link in links if ":" in link.name] or links
    return CODE.sub("", " | ".join(map(str, chosen)))


class foreign:  # noqa: N801 - used like a function, in a with statement
    """Guard a call of code that may be a plug-in's (see the module's text); guards may stand within each other.

    Args:
        code: what is called; a guard around flipbench's own does nothing.
        ref: the reference that names it.
        error: what is raised where it changed something.
        draws: whether it may move global generators: it is asked once, and what it gives is in the cell's key.

    Raises:
        SideEffectError: at the end, if the call itself raised nothing.
    """

    __slots__ = ("_before", "_draws", "_error", "_lent", "_on", "_ref")

    def __init__(self, code: Any, ref: str, error: type[Exception] = SideEffectError, *, draws: bool = False) -> None:
        self._on, self._ref, self._error, self._draws = not is_ours(code), ref, error, draws
        self._lent: list[tuple[str, Any, Any]] = []

    def __enter__(self) -> foreign:
        if self._on:
            self._before = Snapshot()
        return self

    def lend(self, what: str, value: Value) -> Value:
        """What the plug-in is handed in place of a tensor, a mapping or a record of such: a copy of its own.

        Args:
            what: as messages say it, "the updates"; fields of a record are named after it, "cohort.weights".
            value: the original.
        """
        if not self._on:
            return value
        copy: Any
        if isinstance(value, Tensor):
            copy = value.detach().clone()
        elif isinstance(value, Mapping):
            copy = dict(value)
        elif is_dataclass(value) and not isinstance(value, type):
            held = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
            changed = {
                name: self.lend(f"{what}.{name}", v) for name, v in held.items() if isinstance(v, Tensor | Mapping)
            }
            return replace(value, **changed)
        else:
            return value
        self._lent.append((what, copy, value))
        return copy  # type: ignore[no-any-return]

    def own(self, tensor: Tensor) -> Tensor:
        """A tensor that a plug-in answered, as one that it holds no reference to."""
        return tensor.detach().clone() if self._on else tensor

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._on:
            return
        settings = self._before.set_back()
        if kind is not None:
            return
        if self._draws:
            settings = [name for name in settings if name not in GENERATORS]
        written = [what for what, copy, value in self._lent if not _same(copy, value)]
        if written:
            raise self._error(
                f"{name_of(self._ref)} changed {' and '.join(written)} that it was given; "
                "work on copies (.clone() of a tensor, dict() of a mapping)"
            )
        if settings:
            raise self._error(
                f"{name_of(self._ref)} changed {' and '.join(settings)}, and other cells would be computed "
                f"differently; {_ADVICE_GENERATOR if set(settings) & GENERATORS else _ADVICE}"
            )


def foreign_parts(*parts: tuple[Any, str]) -> foreign:
    """A guard around work that calls several things that may be plug-ins, each with the reference that names it."""
    plugins = [(code, ref) for code, ref in parts if not is_ours(code)]
    return foreign(partial(_all, *(code for code, _ in plugins)), " or ".join(name_of(ref) for _, ref in plugins))


def _all(*code: Any) -> None:
    """Stands for several callables."""


_ADVICE = "give dtypes, devices and paths where they are used, and leave settings of the process as they are"
_ADVICE_GENERATOR = "draw from the generator in the context, or from one made of cohort.seeds and cohort.round"


def _same(copy: Any, value: Any) -> bool:
    """Whether a copy still is its original, bit for bit."""
    if not isinstance(value, Tensor):
        return bool(copy == dict(value))
    if copy.shape != value.shape or copy.dtype != value.dtype:
        return False
    with torch.no_grad():
        return torch.equal(_bits(copy.detach()), _bits(value.detach()))


def _bits(tensor: Tensor) -> Tensor:
    """Numbers that compare equal where the bits are: NaN is not equal to itself."""
    return tensor.view(_BITS[tensor.element_size()]) if tensor.is_floating_point() else tensor
