"""Images, features and token ids as one data type: what each must be, its hash, its scale, its shape for models."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

import flipbench as fb
from flipbench.data import input_fit
from flipbench.data.dataset import Dataset, shortened
from flipbench.data.input_shape import InputShape
from flipbench.data.pixel_scaling import FEATURES
from flipbench.training.inputs import Inputs

N = 12
LABELS = torch.arange(N) % 3
IMAGES = torch.arange(N * 12, dtype=torch.uint8).view(N, 3, 2, 2)
NUMBERS = torch.linspace(-1, 1, N * 4).view(N, 4)
TOKENS = torch.arange(N * 5).view(N, 5) % 7


def made(x: Any, y: Any = LABELS, **more: Any) -> Dataset:
    return Dataset("mine", ("a", "b", "c"), x, y, x, y, "official", **more)


@pytest.mark.parametrize(
    ("x", "more", "shape", "words"),
    [
        (IMAGES, {}, InputShape((3, 2, 2)), "images of 2 x 2 pixels, 3 channels"),
        (NUMBERS, {}, InputShape((4,), "features"), "4 features"),
        (NUMBERS.view(N, 2, 2), {}, InputShape((2, 2), "features"), "features of shape 2 x 2"),
        (
            TOKENS,
            {"vocabulary": 7, "padding": 0},
            InputShape((5,), "tokens", 7, 0),
            "5 token ids from a vocabulary of 7, padding 0",
        ),
    ],
)
def test_a_data_set_says_what_its_inputs_are(
    x: torch.Tensor, more: dict[str, Any], shape: InputShape, words: str
) -> None:
    d = made(x, **more)
    assert d.shape == shape == pickle.loads(pickle.dumps(shape))
    assert d.shape.described == words
    for inputs in (d.shape.blank(2), d.shape.made_up(2, torch.Generator().manual_seed(0))):
        assert inputs.shape == (2, *shape)
        assert inputs.dtype == (torch.int64 if d.kind == "tokens" else torch.float32)
    assert made(x.numpy(), LABELS.numpy().astype(np.int32), **more).sha256 == d.sha256
    assert d.copied().sha256 == d.sha256


def test_the_shape_of_an_image_is_a_plain_tuple_and_no_other_is() -> None:
    assert InputShape((1, 2, 2)) == (1, 2, 2) == InputShape.of((1, 2, 2))
    assert len({InputShape((5,), "tokens", 7), InputShape((5,), "tokens", 8), InputShape((5,), "features"), (5,)}) == 4


def test_the_hash_of_images_is_what_it_was_and_that_of_others_tells_all_apart() -> None:
    assert made(IMAGES).sha256 == "2722e496f873e494bbd635923b212338509262a22863b78a0e7a4135df6b3314"
    hashes = [made(TOKENS, vocabulary=v, padding=p).sha256 for v, p in ((7, None), (7, 0), (8, 0))]
    hashes += [made(TOKENS, vocabulary=7, clients=LABELS + k).sha256 for k in (0, 1)]
    hashes += [made(NUMBERS).sha256, made(NUMBERS.view(N, 2, 2)).sha256]
    assert len(set(hashes)) == len(hashes)


NAN = NUMBERS.clone()
NAN[3, 1] = float("nan")
BEYOND = TOKENS.clone()
BEYOND[4, 2] = 7


@pytest.mark.parametrize(
    ("x", "y", "more", "text"),
    [
        (NAN, LABELS, {}, "the first is nan in feature 1 of example 3"),
        (
            NUMBERS.double().numpy() * 1e300,
            LABELS,
            {},
            r"-1e\+300 in feature 0 of example 0 .* is too large for a feature",
        ),
        (BEYOND, LABELS, {"vocabulary": 7}, "token 2 of example 4 .* is 7, but the vocabulary has ids 0 to 6"),
        (TOKENS - 1, LABELS, {"vocabulary": 7}, "token 0 of example 0 .* is -1"),
        (TOKENS, LABELS, {}, "token ids need vocabulary"),
        (TOKENS, LABELS, {"vocabulary": 7, "padding": 7}, "padding is id 7"),
        (NUMBERS, LABELS, {"vocabulary": 7}, "vocabulary and padding are for token ids"),
        (IMAGES[:, 0], LABELS, {}, r"uint8 tensor \(n, channels, height, width\), got shape \(12, 2, 2\)"),
        (IMAGES.long(), LABELS, {"vocabulary": 9}, r"int64 tensor \(n, length\), got shape .* images are uint8"),
        (NUMBERS[:, 0], LABELS, {}, r"float32 tensor \(n, ...\), got shape \(12,\)"),
        (NUMBERS.double() * 1e39, LABELS, {}, r"-1e\+39 in feature 0 of example 0 .* is too large for a feature"),
        (NUMBERS.numpy().astype(np.uint16), LABELS, {}, r"got uint16 \(12, 4\): features are x.astype\('float32'\)"),
        ([[1.0], [1.0, 2.0]], LABELS, {}, "got list: lists of different lengths"),
        ((NUMBERS, TOKENS), LABELS, {}, "got tuple: several inputs are joined in one row"),
        ({"numbers": NUMBERS}, LABELS, {}, "got dict: several inputs are joined in one row"),
        (torch.utils.data.TensorDataset(NUMBERS), LABELS, {}, r"got TensorDataset: .* x = torch.stack\("),
        (np.array([["a"]] * N), LABELS, {}, r"got <U1 \(12, 1\): columns of texts become numbers with pandas"),
        (NUMBERS, LABELS + 1, {}, "labels run from 1 to 3, but there are 3 classes"),
        (NUMBERS, LABELS.float(), {}, r"int64 tensor \(12,\), got torch.float32 \(12,\)"),
        (NUMBERS[:0], LABELS[:0], {}, "it holds no example"),
        (NUMBERS[:, :0], LABELS, {}, "the examples are empty"),
        (NUMBERS, LABELS, {"clients": LABELS[:5]}, r"clients are needed as an int64 tensor \(12,\)"),
        (NUMBERS, LABELS, {"clients": LABELS - 1}, "clients are numbered from 0, got -1"),
        (NUMBERS, LABELS, {"clients": LABELS, "client_names": ("a", "b")}, "clients run to 2, but there are 2"),
        (NUMBERS, LABELS, {"client_names": ("a",)}, "client_names without clients"),
    ],
)
def test_arrays_that_are_no_data_set_are_one_clear_error(x: Any, y: Any, more: dict[str, Any], text: str) -> None:
    with pytest.raises(fb.UserError, match=f"^data set mine.*{text}") as caught:
        made(x, y, **more)
    assert "\n" not in str(caught.value)


def test_both_sides_are_of_one_kind() -> None:
    with pytest.raises(fb.UserError, match="training side holds features, its test side images"):
        Dataset("mine", ("a", "b", "c"), NUMBERS, LABELS, IMAGES, LABELS, "official")
    with pytest.raises(fb.UserError, match=r"features of shape \(4,\), test features of shape \(3,\)"):
        Dataset("mine", ("a", "b", "c"), NUMBERS, LABELS, NUMBERS[:, 1:], LABELS, "official")


def test_a_subset_keeps_the_client_of_each_example() -> None:
    whole = made(torch.arange(N * 1.0).view(N, 1), clients=torch.arange(N) // 2)
    part = shortened(whole, 6, None)
    assert part.clients is not None
    assert part.clients.tolist() == (part.train_x[:, 0].long() // 2).tolist()


def test_features_are_scaled_by_column_and_the_test_side_takes_no_part() -> None:
    train = torch.tensor([[1.0, 5.0, 1e6], [3.0, 5.0, 1e6 + 1], [5.0, 5.0, 1e6 + 2]])
    test = torch.tensor([[3.0, 6.0, 1e6 + 1]])
    same, other = FEATURES["unit"](train, test, 1)
    assert torch.equal(same, train)
    assert torch.equal(other, test)
    a, b = FEATURES["standard"](train, test, 1)
    assert a.tolist() == [[-1, 0, -1], [0, 0, 0], [1, 0, 1]]
    assert b.tolist() == [[0, 1, 0]]
    assert FEATURES["standard"](train[:1], test, 1)[1].tolist() == [[2, 1, 1]]  # one example has no deviation


@pytest.mark.parametrize("data", [NUMBERS, NUMBERS.view(N, 2, 2), TOKENS], ids=["flat", "square", "tokens"])
def test_batches_of_features_and_token_ids_are_gathered_as_they_are(data: torch.Tensor) -> None:
    index = torch.tensor([3, 3, 0])
    got = Inputs(data).rows(index)
    assert torch.equal(got, data[index])
    assert got.dtype == data.dtype


@pytest.mark.parametrize(
    ("field", "text", "x", "said"),
    [
        ("features", "standard", TOKENS, "token ids: leave features at unit"),
        ("augmentation", "crop(padding=2)", TOKENS, "is for images, and the data are 5 token ids"),
        ("augmentation", "crop", NUMBERS, "is for images, and the data are 4 features"),
        ("attack", "backdoor(target=1)", NUMBERS, "stamps images"),
        ("attack", "targeted(source=0, target=1) | backdoor(target=1)", TOKENS, "stamps images"),
        ("attack", "targeted(source=0, target=1) | sign_flip", TOKENS, None),
        ("features", "standard", NUMBERS, None),
        ("attack", "backdoor(target=1)", IMAGES, None),
    ],
)
def test_what_is_for_images_only_is_refused_for_other_data(
    field: str, text: str, x: torch.Tensor, said: str | None
) -> None:
    shape = made(x, **({"vocabulary": 7} if x is TOKENS else {})).shape
    found = input_fit.problem(field, text, shape)
    assert found is None if said is None else said in str(found)
