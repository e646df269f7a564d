"""What a reader must know of a cell before believing its numbers: rounds without predictions, variances set to zero.

A cell has a caveat where the model answered logits that are not finite for some test image in an evaluated round (it
then makes no prediction, which counts as wrong), where the server's step made running variances negative, so that
they were set to zero (`training.running_variances`), or where the number that is shown still moves at the end of
training (`rounds.stability`). Tables, figures and the report page mark every number that such a cell stands behind,
with the rounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.analysis.rounds import stability
from flipbench.analysis.rounds.stability import Movement

MARK = "‡"  # where a figure has no room for the rounds


class Caveat(NamedTuple):
    """The rounds of one cell, or of several together, ascending.

    Attributes:
        no_prediction: evaluated ones in which some test image has no prediction.
        clamped: those in which running variances were set to zero.
        moves: how the number that is shown moved, of each cell that is not steady.
    """

    no_prediction: tuple[int, ...] = ()
    clamped: tuple[int, ...] = ()
    moves: tuple[Movement, ...] = ()


NOTHING = Caveat()
RECORDED = ("no_prediction", "clamped")  # whatever the metric


def of_cells(frame: pd.DataFrame) -> NDArray[np.object_]:
    """The caveat of each cell of a frame of `analysis.frame.load`, with a column ``moves`` or without."""
    found = np.empty(len(frame), dtype=object)
    columns: list[list[Any]] = [frame[name].tolist() for name in RECORDED]
    columns.append(frame["moves"].tolist() if "moves" in frame else [()] * len(frame))
    found[:] = [
        Caveat(*(part if _some(part) else () for part in parts)) if any(map(_some, parts)) else NOTHING
        for parts in zip(*columns, strict=True)
    ]
    return found


def with_moves(some: Iterable[Caveat], moves: Iterable[Movement | None]) -> NDArray[np.object_]:
    """The caveats of cells for one metric.

    Args:
        some: of each cell, whatever the metric.
        moves: how the metric moved in each of them; None where it is steady, or where that is not known.
    """
    each = [c if move is None else c._replace(moves=(*c.moves, move)) for c, move in zip(some, moves, strict=True)]
    found = np.empty(len(each), dtype=object)
    found[:] = each
    return found


def _some(parts: Any) -> bool:
    """Whether there are any; a missing cell has None or NaN."""
    return isinstance(parts, tuple) and bool(parts)


def merged(some: Iterable[Caveat]) -> Caveat:
    """The caveat of several cells together."""
    each = [caveat for caveat in some if caveat != NOTHING]
    if len(each) < 2:
        return each[0] if each else NOTHING
    no_prediction = _rounds(caveat.no_prediction for caveat in each)
    clamped = _rounds(caveat.clamped for caveat in each)
    return Caveat(no_prediction, clamped, tuple(move for caveat in each for move in caveat.moves))


def _rounds(some: Iterable[Sequence[int]]) -> tuple[int, ...]:
    return tuple(sorted({number for rounds in some for number in rounds}))


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
    number = len([caveat for caveat in marked if caveat.no_prediction or caveat.clamped])
    if whole.no_prediction:
        parts.append(f"no prediction for some test images in {rounds_text(whole.no_prediction)} (logits not finite)")
    if whole.clamped:
        parts.append(f"running variances set to 0 in {rounds_text(whole.clamped)}")
    if parts and of > 1:
        parts.append(f"{number} of {of} cells")
    moving = stability.text([caveat.moves for caveat in marked], of)
    return "; ".join([*parts, *([moving] if moving else [])])


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
