"""The three places where an attack can act, told by the name of its first parameter.

* ``labels``  : a label flip. ``attack(labels, scene, /, *, option=...) -> Proposal`` says, for every example of one
  malicious client, which label it would carry if it were flipped and whether it may be flipped at all. Which of the
  eligible examples *are* flipped (exactly ``round(rate * eligible)``) is drawn once, by the bench, for all attacks.
* ``examples``: acts on the pixels of malicious clients (a backdoor).
* ``updates`` : acts on what malicious clients send.

An attack never learns which rule it faces, and never sees test data or an honest client's labels one by one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scene:
    """What a label attack may know.

    Attributes:
        classes: L, the task's number of classes.
        pool: ``(examples,)`` int64, the labels of all clients together (for flips drawn from the label frequencies).
        generator: the attack's own generator: it depends on the seed and the client, never on the defence.
    """

    classes: int
    pool: Tensor
    generator: torch.Generator


@dataclass(frozen=True)
class Proposal:
    """A label attack's answer for one client.

    Attributes:
        labels: ``(examples,)`` int64, the label each example would carry if flipped.
        eligible: ``(examples,)`` bool, whether the attack would flip it.
        with_replacement: examples are drawn with replacement, so fewer distinct ones may change.
    """

    labels: Tensor
    eligible: Tensor
    with_replacement: bool = False
