"""Which fields of a cell mean something only for images: said before anything is trained."""

from __future__ import annotations

from flipbench.attacks.chain import Chain
from flipbench.data.input_shape import InputShape
from flipbench.errors import UserError
from flipbench.plugins import guard, registry
from flipbench.spec.cell import CLEAN, Cell
from flipbench.spec.reference import parse

FIELDS = ("features", "augmentation", "attack")


def check(cell: Cell, shape: InputShape) -> None:
    """See that the cell asks nothing of its data that they are not.

    Args:
        cell: with features, augmentation and attack.
        shape: of one example.

    Raises:
        UserError: it does.
    """
    for field in FIELDS:
        if found := problem(field, getattr(cell, field), shape):
            raise UserError(f"{found} ({guard.name_of(cell.dataset)})")


def problem(field: str, text: str, shape: InputShape) -> str | None:
    """Why the value of a field does not fit data of this kind; None: it does.

    Args:
        field: one of `FIELDS`.
        text: its value.
        shape: of one example.
    """
    if shape.kind == "image":
        return None
    match field:
        case "features" if shape.kind == "tokens" and text != "unit":
            return f"features {text} is for numbers, and the data are token ids: leave features at unit"
        case "augmentation" if parse(text).name != "none":
            return f"augmentation {text} is for images, and the data are {shape.described}: leave augmentation at none"
        case "attack" if text != CLEAN and Chain.of(registry.resolve("attack", text)).examples is not None:
            return f"attack {text} stamps images, and the data are {shape.described}: flip labels or change updates"
    return None
