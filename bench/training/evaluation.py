"""What global models predict: confusion matrices on the test set, and logits.

The prediction is the class of the largest logit, ties to the lowest class. Where one of an image's logits is not finite
(NaN or infinite) the model makes *no prediction* for it: NaN has no order, and an infinite logit is an overflow.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flipbench.aggregators.contract import Layout
from flipbench.training.flat_parameters import views
from flipbench.training.layers.stacked_model import Stacked


@torch.no_grad()
def confusion(net: Stacked, layout: Layout, weights: Tensor, data: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Confusion matrices of the cells' global models.

    Args:
        net: the stacked model.
        layout: of the vector.
        weights: ``(cells, dim)``.
        data: ``(examples, *shape)`` test inputs.
        labels: ``(examples,)`` int64, the true test labels.
        classes: L.

    Returns:
        ``(cells, L, L + 1)`` int64, rows true, columns predicted; the last column counts the images without a
        prediction.
    """
    cells = weights.shape[0]
    parameters = views(weights, layout)
    total = torch.zeros(cells, classes * (classes + 1), dtype=torch.int64, device=data.device)
    for x, y in zip(data.split(1024), labels.split(1024), strict=True):
        logits, _ = net(x.unsqueeze(0).expand(cells, *x.shape), parameters, False, None)
        predicted = torch.where(torch.isfinite(logits).all(-1), logits.argmax(-1), classes)
        place = y.unsqueeze(0) * (classes + 1) + predicted  # (cells, examples)
        total.scatter_add_(1, place, torch.ones_like(place))
    return total.view(cells, classes, classes + 1)


@torch.no_grad()
def scores(net: Stacked, layout: Layout, weights: Tensor, data: Tensor) -> Tensor:
    """Logits ``(examples, L)`` that one model ``(dim,)`` gives ``(examples, *shape)``."""
    logits, _ = net(data.unsqueeze(0), views(weights.unsqueeze(0), layout), False, None)
    return logits.squeeze(0)
