"""Each reader on a few examples in the published form: what it makes of them, and one hash wherever they lie."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from flipbench import data
from flipbench.data.dataset import Dataset
from flipbench.data.readers import idx_sets
from tests.helpers import published_files as files

Facts = tuple[tuple[int, ...], int, int, int, str]  # shape, classes, training and test examples, split


def _emnist(folder: Path) -> None:
    files.idx_files(folder, idx_sets.emnist_spec("letters").parts, 26, first=1, zipped=True)


FORMS: dict[str, tuple[Callable[[Path], object], str, Facts]] = {
    "cifar10 python": (files.cifar10_python, "cifar10(path='{}')", ((3, 32, 32), 10, 100, 20, "files")),
    "cifar10 binary": (files.cifar10_binary, "cifar10(path='{}')", ((3, 32, 32), 10, 100, 20, "files")),
    "cifar100 python": (
        lambda folder: files.cifar100(folder, binary=False),
        "cifar100(path='{}')",
        ((3, 32, 32), 100, 110, 110, "files"),
    ),
    "cifar100 binary": (
        lambda folder: files.cifar100(folder, binary=True),
        "cifar100(path='{}', labels=coarse)",
        ((3, 32, 32), 20, 110, 110, "files"),
    ),
    "svhn": (files.svhn, "svhn(path='{}')", ((3, 32, 32), 10, 40, 40, "files")),
    "emnist": (_emnist, "emnist(path='{}', by=letters)", ((1, 28, 28), 26, 52, 52, "files")),
    "kmnist": (
        lambda folder: files.idx_files(folder, idx_sets.KMNIST.parts, 10),
        "kmnist(path='{}')",
        ((1, 28, 28), 10, 20, 20, "files"),
    ),
    "mnist_csv": (
        lambda folder: files.mnist_table(folder / "mnist_train.csv"),
        "mnist_csv(path='{}')",
        ((1, 28, 28), 10, 24, 6, "stratified"),
    ),
    "femnist": (files.femnist, "femnist(path='{}')", ((1, 28, 28), 62, 70, 15, "files")),
    "shakespeare": (files.shakespeare, "shakespeare(path='{}')", ((80,), 80, 126, 24, "files")),
    "medmnist": (
        lambda folder: files.medmnist(folder / "dermamnist_64.npz", size=64),
        "medmnist(path='{}', size=64)",
        ((3, 64, 64), 7, 42, 42, "files"),
    ),
    "medmnist grey": (
        lambda folder: files.medmnist(folder / "breastmnist.npz", classes=2, channels=1),
        "medmnist(path='{}', name=breastmnist, validation=true)",
        ((1, 28, 28), 2, 42, 42, "files"),
    ),
    "ham10000_colour": (files.ham10000_rgb, "ham10000_colour(path='{}')", ((3, 28, 28), 7, 112, 28, "lesion")),
    "ham10000_images": (
        files.ham10000_folder,
        "ham10000_images(path='{}', size=[20, 24])",
        ((3, 20, 24), 7, 112, 28, "lesion"),
    ),
    "images": (files.image_folder, "images(path='{}', size=8, colour=false)", ((1, 8, 8), 2, 16, 4, "stratified")),
    "csv": (
        lambda folder: files.patients(folder / "patients.csv"),
        "csv(path='{}/patients.csv', label=outcome, client=hospital)",
        ((4,), 3, 48, 12, "client"),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_published_form_is_read(form: str, tmp_path: Path) -> None:
    write, ref, (shape, classes, train, test, split) = FORMS[form]
    (tmp_path / "here").mkdir()
    write(tmp_path / "here")
    found = data.load(ref.format(tmp_path / "here"))
    assert (tuple(found.shape), len(found.classes)) == (shape, classes)
    assert (len(found.train_y), len(found.test_y), found.split) == (train, test, split)
    assert data.content_hash(ref.format(tmp_path / "here")) == found.sha256
    assert data.class_names(ref.format(tmp_path / "here")) == found.classes
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    there = ref.format(tmp_path / "there")
    assert data.content_hash(there) == found.sha256  # wherever it lies, and whatever was cached
    if train > 50:
        part = data.load(f"{there[:-1]}, train={classes}, test={min(5, test)})")
        assert (len(part.train_y), len(part.test_y), part.sha256) == (classes, min(5, test), found.sha256)
    assert str(data.describe(there)).startswith(ref.partition("(")[0])


def both(*sides: tuple[np.ndarray, list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = zip(*sides, strict=True)
    return torch.from_numpy(np.concatenate(x)), torch.tensor([label for labels in y for label in labels])


def test_cifar_is_pixel_by_pixel_what_was_published_in_each_of_its_forms(tmp_path: Path) -> None:
    held = files.cifar10_batches()
    *train, test = [(x.reshape(-1, 3, 32, 32), y) for x, y in held.values()]
    files.cifar10_python(tmp_path / "py")
    files.cifar10_binary(tmp_path / "bin")
    (tmp_path / "tgz").mkdir()
    files.packed(tmp_path / "bin" / "cifar-10-batches-bin", tmp_path / "tgz" / "cifar-10-binary.tar.gz")
    hashes = set()
    for place in ("py", "bin", "tgz", "py/cifar-10-batches-py", "py/cifar-10-batches-py/test_batch"):
        found = data.load(f"cifar10(path='{tmp_path / place}')")
        for got, want in zip((found.train_x, found.train_y), both(*train), strict=True):
            assert torch.equal(got, want)
        for got, want in zip((found.test_x, found.test_y), both(test), strict=True):
            assert torch.equal(got, want)
        hashes.add(found.sha256)
    assert len(hashes) == 1


def test_svhn_has_its_channels_in_front_and_ten_is_the_digit_zero(tmp_path: Path) -> None:
    found = data.load(f"svhn(path='{files.svhn(tmp_path)}')")
    y = [i % 10 for i in range(40)]
    assert torch.equal(found.train_x, torch.from_numpy(files.coloured(y, 10)))
    assert found.train_y.tolist() == y


def test_svhn_trains_on_the_extra_images_too(tmp_path: Path) -> None:
    files.svhn(tmp_path, names=("train_32x32.mat", "test_32x32.mat", "extra_32x32.mat"))
    assert len(data.load(f"svhn(path='{tmp_path}', extra=true)").train_y) == 80


def test_letters_of_emnist_stand_upright_and_count_from_zero(tmp_path: Path) -> None:
    _emnist(tmp_path)
    found = data.load(f"emnist(path='{tmp_path}', by=letters)")
    stored = torch.from_numpy(files.grey([i % 26 for i in range(52)]))
    assert torch.equal(found.train_x[:, 0], stored.transpose(1, 2))
    assert found.train_y.tolist() == [i % 26 for i in range(52)]
    assert found.classes[:2] == ("A", "B")


@pytest.mark.parametrize("by", idx_sets.CHARACTERS)
def test_every_split_of_emnist_has_its_classes(by: str, tmp_path: Path) -> None:
    known = idx_sets.emnist_spec(by)
    files.idx_files(tmp_path, known.parts, len(known.classes), known.first_label)
    assert data.load(f"emnist(path='{tmp_path}', by={by})").counts == ((2, 2),) * len(known.classes)


@pytest.mark.parametrize("header", ["1x1", "pixel0", ""])
@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_tables_with_and_without_a_header(header: str, zipped: bool, tmp_path: Path) -> None:
    for k, name in enumerate(("mnist_train.csv", "mnist_test.csv")):
        table = files.mnist_table(tmp_path / name, header, seed=k)
        if zipped:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(table.read_bytes()))
            table.unlink()
    found = data.load(f"mnist_csv(path='{tmp_path}')")
    y = [i % 10 for i in range(30)]
    for k, (x, labels) in enumerate(((found.train_x, found.train_y), (found.test_x, found.test_y))):
        assert torch.equal(x[:, 0], torch.from_numpy(files.grey(y, seed=k)))
        assert labels.tolist() == y


def test_leaf_images_are_levels_again_and_each_writer_is_a_client(tmp_path: Path) -> None:
    found = data.load(f"femnist(path='{files.femnist(tmp_path)}')")
    y = [(i * 5) % 62 for i in range(12)]
    assert torch.equal(found.train_x[:12, 0], torch.from_numpy(files.grey(y)))
    assert found.train_y[:12].tolist() == y
    assert found.client_sizes == (12, 13, 14, 15, 16)
    assert found.client_names[0] == "f0000_11"


def test_a_character_is_its_place_in_leafs_alphabet(tmp_path: Path) -> None:
    found = data.load(f"shakespeare(path='{files.shakespeare(tmp_path)}')")
    assert (found.shape.vocabulary, found.shape.padding) == (80, None)
    assert "".join(found.classes[i] for i in found.train_x[10].tolist()) == " " * 70 + "shall i co"
    assert found.classes[int(found.train_y[10])] == "m"
    assert found.client_sizes == (30, 31, 32, 33)


def test_medmnist_is_channel_first(tmp_path: Path) -> None:
    files.medmnist(tmp_path / "dermamnist.npz")
    found = data.load(f"medmnist(path='{tmp_path}')")
    assert torch.equal(found.train_x, torch.from_numpy(files.coloured([i % 7 for i in range(42)], 7, 28)))
    tried = data.load(f"medmnist(path='{tmp_path}', validation=true)")
    assert torch.equal(tried.test_x, torch.from_numpy(files.coloured([(i + 1) % 7 for i in range(42)], 7, 28, seed=1)))


def _rows(found: Dataset, x: np.ndarray) -> list[list[int]]:
    """The row of the whole that each training and each test image is."""
    place = {image.tobytes(): i for i, image in enumerate(x)}
    return [[place[image.numpy().tobytes()] for image in side] for side in (found.train_x, found.test_x)]


def test_ham10000_in_colour_is_split_by_lesion(tmp_path: Path) -> None:
    files.ham10000_rgb(tmp_path)
    labels = [i % 7 for i in range(140)]
    train, test = _rows(data.load(f"ham10000_colour(path='{tmp_path}')"), files.coloured(labels, 7, 28))
    lesions = [(labels[i], i // 14) for i in range(140)]  # two images of a class in each 14
    assert not {lesions[i] for i in train} & {lesions[i] for i in test}
    assert sorted(train + test) == list(range(140))
    chosen = data.load(f"ham10000_colour(path='{tmp_path}', validation=true)")
    kept, tried = _rows(chosen, files.coloured(labels, 7, 28))
    assert set(kept) | set(tried) == set(train)
    (tmp_path / "HAM10000_metadata.csv").unlink()
    assert data.load(f"ham10000_colour(path='{tmp_path}')").split == "row"


def test_ham10000_as_image_files_at_their_own_size(tmp_path: Path) -> None:
    files.ham10000_folder(tmp_path)
    found = data.load(f"ham10000_images(path='{tmp_path}', size=[45, 60])")
    assert (found.shape, found.split) == ((3, 45, 60), "lesion")
    colours = found.train_x.float().mean((2, 3))
    for c in range(7):  # a JPEG file changes pixels a little, and no class for another
        near = colours[found.train_y == c]
        assert float((near - near.mean(0)).abs().max()) < 5
    small = data.load(f"ham10000_images(path='{tmp_path}', size=9)")
    assert torch.equal(small.train_y, found.train_y)
    assert small.sha256 != found.sha256


def test_an_image_folder_with_its_own_test_side(tmp_path: Path) -> None:
    files.image_folder(tmp_path / "train")
    files.image_folder(tmp_path / "val", rows=3)
    found = data.load(f"images(path='{tmp_path}')")
    assert (found.split, found.classes, found.counts) == ("files", ("cat", "dog"), ((10, 3), (10, 3)))
    assert torch.equal(found.train_x[:10], torch.from_numpy(files.coloured([0] * 10, 2, 12)))
