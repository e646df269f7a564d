"""What a stack of cells is run with: the data on the device, and the functions that the names in a cell stand for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from flipbench.data.input_shape import InputShape
from flipbench.federation.algorithms.choices import fedavg
from flipbench.federation.sybil_data import MaliciousData
from flipbench.training.augmentation import none
from flipbench.training.initialisation import Initialisation, default
from flipbench.training.inputs import Pixels
from flipbench.training.losses import cross_entropy
from flipbench.training.optimisers import local, server


@dataclass(frozen=True, eq=False)
class Task:
    """A data set ready for training, on the device.

    Attributes:
        train: ``(examples, *shape)`` float32, or int64 token ids; with an attack on examples twice as many, the
            stamped ones behind.
        test: ``(examples, *shape)``, like train.
        test_labels: ``(examples,)`` int64.
        classes: L.
        stamped_test: test images with the trigger that the attack would stamp, ``(some, *shape)``; None without one.
        stamped_labels: their true labels.
        stamped_eligible: ``(examples,)`` bool, the training examples whose stamped copies may be evaluated on; None
            without an attack on examples.
        inputs: what one example is; None: an image.
        black: ``shape``, a black image, scaled; needed by augmentation.
        pixels: of the training images, on the CPU; None where they are not known, or not all that train is made of.
    """

    train: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int
    inputs: InputShape | None = None
    stamped_test: Tensor | None = None
    stamped_labels: Tensor | None = None
    stamped_eligible: Tensor | None = None
    black: Tensor | None = None
    pixels: Pixels | None = None

    @property
    def shape(self) -> InputShape:
        """Of one example, as models are given it: (channels, height, width) of an image."""
        facts = () if self.inputs is None else self.inputs.facts
        return InputShape(self.train.shape[1:], *facts)


@dataclass(frozen=True)
class Parts:
    """What the names in a cell stand for.

    Attributes:
        model: ``(shape, classes) -> nn.Module``.
        schedule: ``(t, rounds) -> factor on the learning rate``, t from 0.
        rule: the aggregator.
        initialise: draws the initial weights.
        loss: `training.losses`.
        augment: `training.augmentation`.
        sybil_data: what each sybil holds.
        optimiser: of local steps: one of `training.optimisers.local`, or a plug-in's.
        algorithm: one of `federation.algorithms.choices`.
        server_optimiser: one of `training.optimisers.server`, or a plug-in's.
    """

    model: Callable[..., nn.Module]
    schedule: Callable[[int, int], float]
    rule: Callable[..., Any]
    initialise: Initialisation = default
    loss: Any = field(default_factory=cross_entropy)
    augment: Any = field(default_factory=none)
    sybil_data: MaliciousData | None = None
    optimiser: Any = field(default_factory=local.sgd)
    algorithm: Any = field(default_factory=fedavg)
    server_optimiser: Any = field(default_factory=server.sgd)
