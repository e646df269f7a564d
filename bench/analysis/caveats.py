"""What a reader must know of a cell before believing its numbers: rounds without predictions, variances set to zero.

A cell has a caveat where the model answered logits that are not finite for some test image in an evaluated round (it
then makes no prediction, which counts as wrong), or where the server's step made running variances negative, so that
they were set to zero (`training.running_variances`). Tables, figures and the report page mark every number that such a
cell stands behind, with the rounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MARK = "‡"  # where a figure has no room for the rounds


class Caveat(NamedTuple):
    """The rounds of one cell, or of several together, ascending.

    Attributes:
        no_prediction: evaluated ones in which some test image has no prediction.
        clamped: those in which running variances were set to zero.
    """

    no_prediction: tuple[int, ...] = ()
    clamped: tuple[int, ...] = ()


NOTHING = Caveat()


def of_cells(frame: pd.DataFrame) -> NDArray[np.object_]:
    """The caveat of each cell of a frame of `analysis.frame.load`."""
    found = np.empty(len(frame), dtype=object)
    columns = (frame[name].tolist() for name in Caveat._fields)
    found[:] = [Caveat(a or (), b or ()) if _some(a) or _some(b) else NOTHING for a, b in zip(*columns, strict=True)]
    return found


def _some(rounds: Any) -> bool:
    """Whether there are any; a missing cell has None or NaN."""
    return isinstance(rounds, tuple) and bool(rounds)


def merged(some: Iterable[Caveat]) -> Caveat:
    """The caveat of several cells together."""
    each = [caveat for caveat in some if caveat != NOTHING]
    if len(each) < 2:
        return each[0] if each else NOTHING
    return Caveat(*(tuple(sorted({r for rounds in column for r in rounds})) for column in zip(*each, strict=True)))


def text(some: Sequence[Caveat], of: int) -> str | None:
    """A caveat in words; None where there is nothing to say.

    Args:
        some: of the cells that have one.
        of: how many cells stand behind the number.
    """
    marked = [caveat for caveat in some if caveat != NOTHING]
    if not marked:
        return None
    whole, parts = merged(marked), []
    if whole.no_prediction:
        parts.append(f"no prediction for some test images in {rounds_text(whole.no_prediction)} (logits not finite)")
    if whole.clamped:
        parts.append(f"running variances set to 0 in {rounds_text(whole.clamped)}")
    return "; ".join(parts) + (f"; {len(marked)} of {of} cells" if of > 1 else "")


def joined(texts: Iterable[str | None]) -> str | None:
    """Several texts as one, each once; None where there is none."""
    return "; ".join(dict.fromkeys(filter(None, texts))) or None


_MOST = 6  # runs of rounds that are named


def rounds_text(numbers: Sequence[int]) -> str:
    """``round 3``, ``rounds 3–5, 9``; of many runs the first and the last."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    texts = [str(a) if a == b else f"{a}–{b}" for a, b in runs]
    if len(texts) > _MOST:
        return f"{len(numbers)} rounds from {numbers[0]} to {numbers[-1]}"
    return f"round{'s' * (len(numbers) > 1)} {', '.join(texts)}"
