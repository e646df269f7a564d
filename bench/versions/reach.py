"""What a definition of flipbench reaches: its own statement, and those of all that it refers to within flipbench."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from flipbench.versions.syntax import Module, Statement, short_hash

Place = tuple[str, str]  # a module and a name in it
Read = Callable[[str], "Module | None"]  # a module of flipbench by its name; None: there is none


@dataclass
class Reached:
    """What was reached so far.

    Attributes:
        read: reads a module of flipbench.
        stop: places that are not followed.
        within: whether what a module holds is followed; the others count as known.
        texts: of the statements, and of the names that come from elsewhere.
        modules: that hold the statements.
    """

    read: Read
    stop: Collection[Place] = frozenset()
    within: Callable[[str], bool] = lambda module: True
    texts: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    _visited: set[object] = field(default_factory=set)

    def fingerprint(self) -> str:
        """Hash of all that was reached, whatever modules hold it."""
        return short_hash("\n".join(sorted(self.texts)))

    def add(self, module: str, name: str) -> None:
        """Follow a name of a module."""
        todo: list[tuple[str, str]] = [(module, name)]
        while todo:
            todo += self._step(*todo.pop())

    def add_statements(self, module: str, statements: Iterable[Statement]) -> None:
        """Follow statements of a module."""
        for statement in statements:
            for place in self._statement(module, statement):
                self.add(*place)

    def _step(self, module: str, name: str) -> list[Place]:
        if (module, name) in self._visited or (module, name) in self.stop:
            return []
        self._visited.add((module, name))
        if self.read(f"{module}.{name}") is not None:  # a module that is passed on as a value
            return self._whole(f"{module}.{name}")
        held = self.read(module)
        if held is None:
            return []
        if statements := held.defining(name):
            if not self.within(module):
                return []
            return [place for s in (*statements, *held.loose) for place in self._statement(module, s)]
        if name in held.imports:
            return self._imported(name, *held.imports[name], ())
        return []

    def _whole(self, module: str) -> list[Place]:
        held = self.read(module)
        if held is None or not self.within(module):
            return []
        return [place for s in held.statements for place in self._statement(module, s)]

    def _statement(self, module: str, statement: Statement) -> list[Place]:
        if (module, statement) in self._visited:
            return []
        self._visited.add((module, statement))
        self.texts.add(statement.text)
        self.modules.add(module)
        held = self.read(module)
        found: list[Place] = []
        for root, *attributes in sorted(statement.uses):
            if held is not None and held.defining(root):
                found.append((module, root))
            elif held is not None and root in held.imports:
                found += self._imported(root, *held.imports[root], tuple(attributes))
        return found

    def _imported(self, said: str, module: str, name: str | None, attributes: tuple[str, ...]) -> list[Place]:
        """Where a name that was imported leads, with the attributes that are taken of it."""
        dotted = module if name is None else f"{module}.{name}"
        rest = list(attributes)
        if dotted == "flipbench":  # ``import flipbench.aggregators`` binds the first part alone
            longer = (".".join([dotted, *rest[:count]]) for count in range(1, len(rest) + 1))
            if (found := next((m for m in longer if self.read(m) is not None), None)) is not None:
                rest, dotted = rest[found.count(".") :], found
        if self.read(dotted) is None:
            if name is not None and self.read(module) is not None:
                return [(module, name)]
            self.texts.add(f"{said} = {dotted}")  # Python's own or an installed package's
            return []
        while rest and self.read(f"{dotted}.{rest[0]}") is not None:
            dotted = f"{dotted}.{rest.pop(0)}"
        if rest:
            return [(dotted, rest[0])]
        above, _, last = dotted.rpartition(".")
        return [(above, last)]
