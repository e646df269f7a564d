"""Shipped networks: parameters as their sources say, initial weights, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from flipbench.data.input_shape import InputShape
from flipbench.training import flat_parameters as vectors
from flipbench.training import initialisation, models
from flipbench.training.networks.recurrent import _ends
from flipbench.training.networks.several_inputs import SeveralInputs, joined

TEXT = InputShape((80,), "tokens", 80, 0)
LARGE, SMALL, GREY = (3, 224, 224), (3, 32, 32), (1, 28, 28)
# As the papers or the reference implementations count them: the docstrings say the same.
COUNTS: list[tuple[str, dict[str, Any], Any, int, int]] = [
    ("resnet", {}, SMALL, 10, 269_722),
    ("resnet", {"depth": 32}, SMALL, 10, 464_154),
    ("resnet", {"depth": 18}, LARGE, 1000, 11_689_512),
    ("resnet", {"depth": 34}, LARGE, 1000, 21_797_672),
    ("vgg", {"depth": 11}, SMALL, 10, 9_750_922),
    ("vgg", {"depth": 16}, SMALL, 10, 15_245_130),
    ("vgg", {"depth": 11, "hidden": [4096, 4096]}, LARGE, 1000, 132_863_336),
    ("vgg", {"depth": 16, "hidden": [4096, 4096]}, LARGE, 1000, 138_357_544),
    ("lenet", {}, GREY, 10, 61_706),
    ("lenet", {"original": True}, GREY, 10, 61_706),
    ("vit", {"patch": 16, "dim": 768, "depth": 12, "heads": 12}, LARGE, 1000, 86_567_656),
    ("vit", {}, SMALL, 10, 208_074),
    ("lstm", {}, TEXT, 80, 819_920),
    ("transformer", {}, TEXT, 2, 110_466),
]


@pytest.mark.parametrize(("name", "options", "shape", "classes", "count"), COUNTS)
def test_parameters(name: str, options: dict[str, Any], shape: Any, classes: int, count: int) -> None:
    with torch.device("meta"):
        model = models.MODELS[name](shape, classes, **options)
    assert sum(p.numel() for p in model.parameters()) == count
    assert f"{count:,}" in str(models.MODELS[name].__doc__)


def test_group_norm_has_the_parameters_of_batch_norm_and_no_statistics() -> None:
    by_batch, by_group = (models.MODELS["resnet"](SMALL, 10, norm=norm) for norm in ("batch", "group"))
    count = sum(p.numel() for p in by_group.parameters())
    assert count == sum(p.numel() for p in by_batch.parameters())
    assert vectors.dimension(vectors.layout_of(by_group)) == count
    assert vectors.dimension(vectors.layout_of(by_batch)) > count


@pytest.mark.parametrize(
    ("name", "options", "shape", "text"),
    [
        ("resnet", {"depth": 19}, SMALL, "depth of 18, 20, 32, 34, 44, 56, got 19"),
        ("resnet", {"width": 0}, SMALL, "width from 1"),
        ("resnet", {"depth": 18}, GREY, "at least 32x32 pixels"),
        ("resnet", {}, TEXT, "takes images, and the data are 80 token ids"),
        ("vgg", {"depth": 13}, SMALL, "depth of 11 or 16"),
        ("vgg", {}, GREY, "at least 32x32 pixels, got 28x28"),
        ("vgg", {"hidden": [], "dropout": 0.5}, SMALL, "no hidden layer"),
        ("vgg", {"dropout": 1.0}, SMALL, "from 0 to below 1"),
        ("lenet", {}, (1, 8, 8), "at least 12x12 pixels"),
        ("vit", {"patch": 5}, SMALL, "divides the sides"),
        ("vit", {"heads": 5}, SMALL, "share equally"),
        ("vit", {}, InputShape((6,), "features"), "takes images, and the data are 6 features"),
        ("lstm", {}, SMALL, "takes token ids, and the data are images"),
        ("lstm", {"layers": 0}, TEXT, "layers from 1"),
        ("lstm", {"dropout": -0.1}, TEXT, "from 0 to below 1"),
        ("transformer", {"width": 6}, TEXT, "share equally"),
        ("transformer", {}, SMALL, "takes token ids"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, options: dict[str, Any], shape: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        models.MODELS[name](shape, 10, **options)


def test_padding_changes_no_logit() -> None:
    """A text and the same text filled up further, to a model that was made for the longer one."""
    short, long = torch.tensor([[3, 1, 4, 1, 0, 0]]), torch.tensor([[3, 1, 4, 1, 0, 0, 0, 0, 0]])
    assert _ends(short, 0).tolist() == [3]
    assert _ends(torch.zeros(1, 4, dtype=torch.int64), 0).tolist() == [0]
    assert _ends(short, None).tolist() == [5]
    for name, options in (("lstm", {"hidden": 5}), ("transformer", {"width": 8, "heads": 2})):
        model = models.build(
            lambda s, c, n=name, o=options: models.MODELS[n](s, c, **o), InputShape((9,), "tokens", 7, 0), 3, 0
        ).eval()
        if name == "transformer":
            shorter = torch.nn.functional.pad(short, (0, 3))
            torch.testing.assert_close(model(shorter), model(long))
            other = long.clone()
            other[0, 2] = 6
            assert not torch.allclose(model(other), model(long))
        else:
            torch.testing.assert_close(model(short), model(long))


@pytest.mark.parametrize("draw", initialisation.INITIALISATIONS)
def test_the_field_initialisation_draws_into_every_layer(draw: str) -> None:
    options = {"resnet": {"width": 4}, "vgg": {"width": 2}, "lstm": {"hidden": 5}, "vit": {"dim": 8}}
    for name, shape in (("resnet", SMALL), ("vgg", SMALL), ("vit", SMALL), ("lstm", TEXT), ("transformer", TEXT)):
        chosen = initialisation.INITIALISATIONS[draw]
        made = models.build(lambda s, c, n=name: models.MODELS[n](s, c, **options.get(n, {})), shape, 4, 1, chosen)
        usual = models.build(lambda s, c, n=name: models.MODELS[n](s, c, **options.get(n, {})), shape, 4, 1)
        norms = {id(p) for m in made.modules() if isinstance(m, initialisation._NORMS) for p in m.parameters()}
        for (key, one), two in zip(made.named_parameters(), usual.parameters(), strict=True):
            assert torch.isfinite(one).all()
            if draw == "default" or id(one) in norms:
                assert torch.equal(one, two), key
            elif "bias" in key or draw == "zeros":
                assert not one.any(), key
            else:
                assert not torch.equal(one, two), key
        if isinstance(embedding := getattr(made, "embedding", None), nn.Embedding):
            assert not embedding.weight[0].any()


def test_several_inputs_come_back_as_they_were_joined() -> None:
    images, numbers, tokens = torch.rand(4, 1, 3, 3), torch.rand(4, 5), torch.randint(1 << 20, (4, 6))
    seen: list[tuple[torch.Tensor, ...]] = []

    class Keeps(nn.Module):
        def forward(self, *parts: torch.Tensor) -> torch.Tensor:
            seen.append(parts)
            return parts[1]

    SeveralInputs(Keeps(), [(1, 3, 3), (5,), (6,)], tokens=[2])(joined(images, numbers, tokens))
    for got, want in zip(seen[0], (images, numbers, tokens), strict=True):
        assert torch.equal(got, want)
        assert got.dtype == want.dtype
    with pytest.raises(AssertionError, match="need rows of 14 numbers"):
        SeveralInputs(Keeps(), [(1, 3, 3), (5,)])(joined(images, numbers, tokens))
    with pytest.raises(ValueError, match="tokens names part 3"):
        SeveralInputs(Keeps(), [(1, 3, 3), (5,), (6,)], tokens=[3])
    with pytest.raises(ValueError, match="a shape of one or more numbers"):
        SeveralInputs(Keeps(), [(0,)])
    with pytest.raises(ValueError, match="equally many examples"):
        joined(images, numbers[:2])
    with pytest.raises(ValueError, match="beyond 2"):
        joined(images, tokens + (1 << 24) + 1)
