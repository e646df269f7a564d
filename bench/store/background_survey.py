"""A survey of a results folder by a child process, while this one reads the grid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from flipbench.store.store import Store, Survey
from flipbench.system.subprocess_pipe import PipedProcess


class BackgroundSurvey:
    """`Store.survey` that changes nothing, begun as soon as the folder is known and waited for at the end.

    Used as a context, so that no child process outlives the command.
    """

    def __init__(self) -> None:
        self._child: PipedProcess | None = None

    def __enter__(self) -> BackgroundSurvey:
        return self

    def begin(self, folder: Path) -> None:
        """Start the survey of a folder; one that does not exist is an empty one."""
        if folder.is_dir():
            self._child = PipedProcess("store.background_survey", folder.absolute()).__enter__()

    def result(self) -> Survey:
        """Wait for the survey.

        Raises:
            UserError: the folder cannot be read.
        """
        if self._child is None:
            return Survey({}, ())
        return Survey(*self._child.next())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._child is not None:
            self._child.__exit__()


def parts(folder: Path) -> Iterator[tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]]:
    """What the child process computes."""
    survey = Store(folder, repairs=False).survey()
    yield dict(survey.statuses), survey.other, survey.damaged
