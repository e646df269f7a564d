"""What an attack says of itself: ``adaptive``, ``dynamic`` or ``confusion``, as attributes that the bench reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Attack = TypeVar("Attack", bound=Callable[..., Any])


def declaring(*what: str) -> Callable[[Attack], Attack]:
    """Set each of the attributes to true: ``@declaring("adaptive")``."""

    def declared(attack: Attack) -> Attack:
        for name in what:
            setattr(attack, name, True)
        return attack

    return declared
