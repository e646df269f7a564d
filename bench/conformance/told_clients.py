"""Check of what a rule tells of the clients that it kept (`Cohort.tell_kept`), of rules that tell it.

It takes a `Subject` and raises `Broken` at the first, smallest case that fails.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from flipbench.aggregators.contract import Infeasible, Update
from flipbench.conformance.cases import Broken, Case, Subject, draw
from flipbench.system import process_settings

_DIM = 60  # more than there are clients, so that an answer shows whose it is
_WITHIN = 0.05  # of the answer's length: noise that a rule adds


def tells(subject: Subject) -> bool:
    """Whether the rule tells whom it kept; what it does to settings of the process is the matter of another check."""
    with process_settings.kept():
        for n, f in subject.sizes(7, 11):
            with suppress(Infeasible, Broken):
                if _asked(subject, draw(n, _DIM, f))[1]:
                    return True
    return False


def kept(subject: Subject) -> None:
    """The answer is made of the updates of the clients that the rule said it kept, in a stack as alone."""
    for n, f in subject.sizes(5, 7, 11):
        for cells in ((), (2,)):
            case = draw(n, _DIM, f, cells=cells)
            with suppress(Infeasible):
                answer, said = _asked(subject, case)
                if not said:
                    continue
                told = _together(case, said)
                for i, own in enumerate(told.reshape(-1, n)):
                    one = case.cell(i) if cells else case
                    _check(one, answer.reshape(-1, _DIM)[i], own)
                    alone = _together(one, _asked(subject, one)[1])
                    if not torch.equal(alone, own):
                        raise Broken(one, f"said that it kept clients {_rows(alone)}, and in a stack {_rows(own)}")


def _asked(subject: Subject, case: Case) -> tuple[Update, list[tuple[Any, int | None]]]:
    """The answer, and what was told: whom the rule kept, and in which cell."""
    said: list[tuple[Any, int | None]] = []
    answer = subject.ask(case.but(case.note, tell_kept=lambda kept, cell=None: said.append((kept, cell))))
    return answer, said


def _together(case: Case, said: list[tuple[Any, int | None]]) -> Tensor:
    """Who was kept, ``(*cells, clients)`` bool.

    Raises:
        Broken: another shape or type, something told twice or of some cells only.
    """
    cells, n = case.updates.shape[:-2], case.updates.shape[-2]
    for mask, cell in said:
        wanted = (n,) if cell is not None else (*cells, n)
        if not isinstance(mask, Tensor) or tuple(mask.shape) != wanted or mask.dtype != torch.bool:
            came = f"{mask.dtype} of shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
            raise Broken(case, f"told {came} where torch.bool of shape (*cells, clients) = {wanted} was needed")
    if len(said) == 1 and said[0][1] is None:
        whole: Tensor = said[0][0].cpu()
        return whole
    if sorted(cell if cell is not None else -1 for _, cell in said) != list(range(cells.numel())):
        raise Broken(case, f"told {len(said)} times whom it kept, and once is needed")
    return torch.stack([mask.cpu() for mask, _ in sorted(said, key=lambda one: one[1] or 0)]).reshape(*cells, n)


def _check(case: Case, answer: Tensor, own: Tensor) -> None:
    """One cell: the answer lies in the span of the kept clients' updates."""
    length = float(answer.double().norm())
    if not bool(own.any()):
        if length > 0:
            raise Broken(case, "said that it kept no client, and answered something")
        return
    rows = case.updates[own].double().mT  # (dim, kept)
    nearest = rows @ torch.linalg.lstsq(rows, answer.double().unsqueeze(1)).solution
    off = float((nearest.squeeze(1) - answer.double()).norm())
    if off > _WITHIN * length:
        share = f"{100 * off / length:.0f} % of its answer is of no client that it kept"
        raise Broken(case, f"said that it kept clients {_rows(own)}, and {share}")


def _rows(own: Tensor) -> list[int]:
    rows: list[int] = own.nonzero().squeeze(1).tolist()
    return rows
