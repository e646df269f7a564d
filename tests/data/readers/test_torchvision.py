"""``torchvision:NAME`` with torchvision itself, where it is installed: sets that its own classes read from fixtures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flipbench import data
from flipbench.data import idx
from flipbench.errors import UserError
from tests.helpers import published_files as files

try:
    import torchvision.datasets  # noqa: F401
except Exception as error:  # a wheel for another PyTorch raises RuntimeError
    pytest.skip(f"torchvision does not load: {error}", allow_module_level=True)


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_sets_with_train_are_what_our_own_reader_reads(name: str, tmp_path: Path) -> None:
    files.idx_files(tmp_path / name / "raw", idx.PARTS, 10)
    ours = {"MNIST": "mnist", "FashionMNIST": "fashion_mnist", "KMNIST": "kmnist"}[name]
    known = data.load(f"{ours}(path='{tmp_path}')")
    found = data.load(f"torchvision:{name}(path='{tmp_path}')")
    for side in ("train_x", "train_y", "test_x", "test_y"):
        assert np.array_equal(getattr(found, side), getattr(known, side))
    assert len(found.classes) == 10


def test_sets_with_split_are_read_at_a_size(tmp_path: Path) -> None:
    from PIL import Image

    for side, number in (("train", 3), ("valid", 1), ("test", 2)):
        for label, country in enumerate(("AD", "AE")):
            folder = tmp_path / "country211" / side / country
            folder.mkdir(parents=True)
            for i in range(number):
                Image.new("RGB", (10 + i, 8), (200 * label, 10, 20)).save(folder / f"{i}.jpg")
    found = data.load(f"torchvision:Country211(path='{tmp_path}', size=[4, 5])")
    assert (tuple(found.shape), found.classes, found.train_y.tolist()) == ((3, 4, 5), ("AD", "AE"), [0, 0, 0, 1, 1, 1])
    assert found.test_y.tolist() == [0, 0, 1, 1]
    assert (found.train_x[:, 0].float().mean((1, 2)) > 100).tolist() == [False] * 3 + [True] * 3
    with pytest.raises(UserError, match="image 1 is 8 x 11 pixels, the first 8 x 10: give a size"):
        data.load(f"torchvision:Country211(path='{tmp_path}')")


def test_a_set_whose_files_are_not_there_is_one_error_in_the_words_of_torchvision(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"torchvision:STL10 from {tmp_path}: RuntimeError: Dataset not found"):
        data.load(f"torchvision:STL10(path='{tmp_path}')")
