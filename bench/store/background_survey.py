"""A look over a folder of results by a helper, while this process has something else to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from flipbench.store.store import Store, Survey
from flipbench.system.subprocess_pipe import Helper


class Underway:
    """A survey that begins as soon as its folder is known, and is waited for at the end.

    Used as a context, so that no helper outlives the command.
    """

    def __init__(self) -> None:
        self._helper: Helper | None = None

    def __enter__(self) -> Underway:
        return self

    def begin(self, folder: Path) -> None:
        """Look over a folder; a folder that is not there is an empty one."""
        if folder.is_dir():
            self._helper = Helper("store.background_survey", folder.absolute()).__enter__()

    def result(self) -> Survey:
        """What was found.

        Raises:
            UserError: the folder cannot be read.
        """
        if self._helper is None:
            return Survey({}, ())
        statuses, other = self._helper.next()
        return Survey(statuses, other)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._helper is not None:
            self._helper.__exit__()


def parts(folder: Path) -> Iterator[tuple[dict[str, str], tuple[str, ...]]]:
    """The helper's side."""
    found = Store(folder).survey()
    yield dict(found.statuses), found.other
