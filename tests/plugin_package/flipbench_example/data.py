"""A data set made of numbers: stripes on 6 x 6 pixels, one class a column."""

import torch

from flipbench.data.dataset import Dataset


def stripes(*, each: int = 40) -> Dataset:
    """Bright columns under noise, three classes, ``each`` training examples a class."""
    generator = torch.Generator().manual_seed(0)  # a data set is the same whatever the seed of a cell

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.arange(3).repeat(count)
        x = torch.randint(0, 120, (len(y), 1, 6, 6), generator=generator, dtype=torch.uint8)
        for label in range(3):
            x[y == label, :, :, 2 * label] += 100
        return x, y

    train, test = draw(each), draw(20)
    return Dataset("stripes", ("left", "middle", "right"), *train, *test, split="official")
