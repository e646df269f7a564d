"""my_label_attack: every label becomes the next higher one, but for those already at the top."""

import torch

from flipbench.attacks import LabelContext, Proposal


def my_label_attack(labels: torch.Tensor, context: LabelContext, /, *, by: int = 1) -> Proposal:
    """y becomes y + by where there is such a class; the others keep their label and are not eligible."""
    if not 1 <= by < context.classes:  # a user's mistake, reported when the grid is read
        raise ValueError(f"my_label_attack needs by from 1 to {context.classes - 1}, got {by}")
    new = labels + by  # a new tensor: never change the labels that you were given
    possible = new < context.classes  # classes count from 0 to context.classes - 1
    new = torch.where(possible, new, labels)
    # Say what each example would become, and which may be flipped. The bench then flips exactly round(rate * eligible)
    # of them. An attack that draws at random passes generator=context.generator: every rule meets the same flips.
    return Proposal(labels=new, eligible=possible)
