"""Logits that are not finite are no prediction; running variances do not fall below zero."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from flipbench.training import flat_parameters as vectors
from flipbench.training import running_variances
from flipbench.training.evaluation import confusion
from tests.helpers.lockstep_cases import stacked

NAN, INF = float("nan"), float("inf")


class Given(nn.Module):
    """Answers its input as logits, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) * self.weight


@pytest.mark.parametrize(
    ("logits", "column"),
    [
        ([0.0, 1.0, 0.0], 1),
        ([2.0, 2.0, 2.0], 0),  # a tie is a prediction, of the lowest class
        ([-1e38, 3e38, 0.0], 1),
        ([NAN, 1.0, 0.0], 3),
        ([0.0, 1.0, NAN], 3),
        ([NAN, NAN, NAN], 3),
        ([INF, 1.0, 0.0], 3),
        ([0.0, 1.0, -INF], 3),
    ],
)
def test_an_image_with_a_logit_that_is_not_finite_has_no_prediction(logits: list[float], column: int) -> None:
    model, x = Given(), torch.tensor([logits, [0.0, 0.0, 5.0]]).view(2, 1, 1, 3)
    where = vectors.layout_of(model)
    got = confusion(stacked(model, (1, 1, 3), 3), where, torch.ones(2, 1), x, torch.tensor([2, 1]), 3)
    want = torch.zeros(3, 4, dtype=torch.int64)
    want[2, column] += 1
    want[1, 2] += 1
    assert torch.equal(got, want.expand(2, 3, 4))


def test_only_running_variances_below_zero_are_moved_and_counted() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    where = vectors.layout_of(model)
    places = running_variances.places_of(model, where)
    assert places == [where["1.running_var"][0]]
    weights = -torch.ones(3, vectors.dimension(where))
    weights[:, places[0]] = torch.tensor([[1.0, 0.0], [-0.5, 2.0], [NAN, -INF]])
    before = weights.clone()
    assert running_variances.clamp(weights, places) == [0, 1, 1]
    before[1, places[0].start] = before[2, places[0].start + 1] = 0.0
    assert torch.equal(weights.nan_to_num(9.0), before.nan_to_num(9.0))
    assert running_variances.places_of(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), {}) == []
