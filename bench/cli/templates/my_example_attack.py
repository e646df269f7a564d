"""my_example_attack: a bright line at the bottom of the image means the target class."""

import torch

from flipbench.attacks import ExampleContext, Stamped


def my_example_attack(
    examples: torch.Tensor, labels: torch.Tensor, context: ExampleContext, /, *, target: int = 0
) -> Stamped:
    """The lowest row of pixels becomes as bright as can be, and the label the target."""
    if not 0 <= target < context.classes:  # a user's mistake
        raise ValueError(f"my_example_attack needs a target from 0 to {context.classes - 1}, got {target}")
    # examples: (examples, channels, height, width), pixels from context.low to context.high
    stamped = examples.clone()  # never change the images that you were given
    stamped[..., -1, :] = context.high  # the same in every image: test images are stamped alike
    eligible = labels != target  # the bench poisons exactly round(rate * eligible) of these
    return Stamped(examples=stamped, labels=torch.full_like(labels, target), eligible=eligible)
