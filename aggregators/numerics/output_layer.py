"""Where in an update the output layer lies: the last matrix of the layout, and the vector after it.

Rules that read the output layer work on classifiers whose last linear layer has one row of weights a class.
"""

from __future__ import annotations

from dataclasses import dataclass

from flipbench.aggregators.cohort_checks import check_layout
from flipbench.aggregators.contract import Infeasible, Layout


@dataclass(frozen=True)
class OutputLayer:
    """The output layer of a flattened model.

    Attributes:
        weight: its weights, one row of ``features`` a class.
        bias: its biases, one a class; null where it has none.
        classes: L.
        features: inputs of the layer.
    """

    weight: slice
    bias: slice | None
    classes: int
    features: int


def output_layer(rule: str, layout: Layout, dim: int) -> OutputLayer:
    """Find the output layer of a model of ``dim`` numbers.

    Raises:
        Infeasible: the layout has no matrix.
        ValueError: the layout is that of another model.
    """
    check_layout(layout, dim)
    places = list(layout.values())
    for at in range(len(places) - 1, -1, -1):
        place, shape = places[at]
        if len(shape) == 2:
            after = places[at + 1] if at + 1 < len(places) else None
            bias = after[0] if after is not None and after[1] == (shape[0],) else None
            return OutputLayer(place, bias, *shape)
    raise Infeasible(
        f"{rule} needs to know the output layer: a layout with at least 1 matrix (classes x features), "
        f"got {len(places)} parameters and no matrix among them"
    )
