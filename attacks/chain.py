"""Several attacks at once, one a place: ``targeted(source=6, target=4) | scaled(factor=10)``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flipbench.attacks.contract import PLACES, declares, place


@dataclass(frozen=True)
class Chain:
    """What malicious clients do to labels, examples and updates; None where they are honest.

    Attributes:
        labels: a label attack.
        examples: an example attack.
        updates: an update attack; it is given what the other two made of the updates.
    """

    labels: Any = None
    examples: Any = None
    updates: Any = None

    @classmethod
    def of(cls, *links: Any) -> Chain:
        """The chain of some attacks; a chain is a chain of itself.

        Raises:
            ValueError: two of them act in one place, or one does not say where it acts.
        """
        chosen: dict[str, Any] = {}
        for link in links:
            parts = link.links if isinstance(link, Chain) else {place(link): link}
            for where, attack in parts.items():
                if where in chosen:
                    raise ValueError(f"a chain of attacks needs links that act in different places, got two on {where}")
                chosen[where] = attack
        return cls(**chosen)

    @property
    def links(self) -> dict[str, Any]:
        """Place -> attack."""
        return {p: getattr(self, p) for p in PLACES if getattr(self, p) is not None}

    @property
    def places(self) -> list[str]:
        """Where it acts."""
        return list(self.links)

    def declares(self, what: str) -> bool:
        """Whether a link declares ``what = True``."""
        return any(declares(a, what) for a in self.links.values())
