"""A file of one format in another's place, and damaged files: one clear error with the file, and what it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flipbench import data
from flipbench.errors import UserError
from tests.helpers import published_files as files


def says(ref: str) -> str:
    with pytest.raises(UserError) as caught:
        data.load(ref)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "MATLAB": (lambda p: files.svhn(p, names=["file"]), "a MATLAB file"),
    "IDX": (lambda p: (p / "file").write_bytes(files.idx(files.grey([1]))), "an IDX file of images"),
    "NumPy": (
        lambda p: np.savez((p / "file").open("wb"), a=[1]),
        "a NumPy archive (.npz)",
    ),
    "JSON": (lambda p: (p / "file").write_text('{"users": []}'), "a JSON file"),
    "table": (lambda p: files.mnist_table(p / "file"), "a table that begins with 'label,1x1"),
    "pickle": (lambda p: (p / "file").write_bytes(files.python2_pickle({b"a": b"b"})), "a pickle"),
    "nothing": (lambda p: (p / "file").write_bytes(b""), "an empty file"),
}
READERS = {
    "cifar10": ("cifar10(path='{}')", "cifar-10-batches-py"),
    "svhn": ("svhn(path='{}')", "train_32x32.mat"),
    "mnist_csv": ("mnist_csv(path='{}')", "a table of 785 columns"),
    "femnist": ("femnist(path='{}')", "LEAF's folders train and test"),
    "medmnist": ("medmnist(path='{}')", "a NumPy archive (.npz)"),
    "ham10000": ("ham10000(path='{}')", "hmnist_28_28_L.csv"),
    "ham10000_colour": ("ham10000_colour(path='{}')", "hmnist_28_28_RGB.csv"),
    "ham10000_images": ("ham10000_images(path='{}')", "HAM10000_metadata.csv"),
    "npz": ("npz(path='{}')", "a NumPy archive (.npz)"),
    "csv": ("csv(path='{}', label=a)", "a table of texts and numbers"),
    "images": ("images(path='{}')", "a folder with a folder for each class"),
    "hf": ("hf(path='{}')", "save_to_disk"),
}
OWN = {
    ("mnist_csv", "table"),
    ("medmnist", "NumPy"),
    ("npz", "NumPy"),
    ("csv", "table"),
    ("femnist", "JSON"),
}


@pytest.mark.parametrize(("reader", "wrong"), [(r, w) for r in READERS for w in WRONG if (r, w) not in OWN])
def test_a_file_of_another_format_is_refused_with_both_names(reader: str, wrong: str, tmp_path: Path) -> None:
    write, what = WRONG[wrong]
    write(tmp_path)
    ref, needed = READERS[reader]
    message = says(ref.format(tmp_path / "file"))
    for part in (str(tmp_path / "file"), what, reader, needed):
        assert part in message


def test_a_table_without_lines_and_a_single_json_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n")
    assert "no line below its header" in says(f"csv(path='{tmp_path / 't.csv'}', label=a)")
    (tmp_path / "a.json").write_text('{"users": []}')
    assert "name the folder" in says(f"femnist(path='{tmp_path / 'a.json'}')")


def test_the_two_cifars_and_the_two_ham10000_tables_are_told_apart(tmp_path: Path) -> None:
    ten, hundred = files.cifar10_python(tmp_path / "10"), files.cifar100(tmp_path / "100", binary=False)
    assert "is of cifar10, and cifar100 reads" in says(f"cifar100(path='{ten}')")
    assert "is of cifar100, and cifar10 reads" in says(f"cifar10(path='{hundred}')")
    for name in ("data_batch_1", "test_batch"):
        (ten / name).write_bytes((hundred / "train").read_bytes())
    assert re.search(r"data_batch_1 holds cifar100, not cifar10.*fine_labels", says(f"cifar10(path='{ten}')"))
    binary = files.cifar10_binary(tmp_path / "bin")
    (binary / "data_batch_3.bin").write_bytes((files.cifar100(tmp_path / "c", binary=True) / "train.bin").read_bytes())
    assert "data_batch_3.bin holds cifar100, not cifar10: its records have 3074" in says(f"cifar10(path='{binary}')")
    grey = tmp_path / "hmnist_28_28_RGB.csv"
    grey.write_text(",".join([*(f"pixel{i:04d}" for i in range(784)), "label"]) + "\n")
    assert "is the 28 x 28 grey table of the data set ham10000," in says(f"ham10000_colour(path='{grey}')")
    colour = files.ham10000_rgb(tmp_path / "both", rows=35)
    (tmp_path / "both" / "mine.csv").write_text(grey.read_text())  # in one folder each reader takes its own
    assert data.load(f"ham10000_colour(path='{tmp_path / 'both'}')").sources[0] == str(colour / grey.name)
    assert "mine.csv, line 2: the file ends where" in says(f"ham10000(path='{tmp_path / 'both'}')")


def _cut(file: Path, share: float = 0.53) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])


CUT: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "cifar10 python": (files.cifar10_python, "cifar-10-batches-py/test_batch", "cifar10(path='{}')"),
    "cifar10 binary": (files.cifar10_binary, "cifar-10-batches-bin/data_batch_2.bin", "cifar10(path='{}')"),
    "svhn": (files.svhn, "test_32x32.mat", "svhn(path='{}')"),
    "mnist_csv": (lambda p: files.mnist_table(p / "mnist_train.csv"), "mnist_train.csv", "mnist_csv(path='{}')"),
    "femnist": (files.femnist, "train/all_data_0_niid_0_keep_0_train_9.json", "femnist(path='{}')"),
    "medmnist": (lambda p: files.medmnist(p / "dermamnist.npz"), "dermamnist.npz", "medmnist(path='{}')"),
    "ham10000_colour": (files.ham10000_rgb, "hmnist_28_28_RGB.csv", "ham10000_colour(path='{}')"),
    "ham10000_images": (
        files.ham10000_folder,
        "HAM10000_images_part_2/ISIC_0024400.jpg",
        "ham10000_images(path='{}', size=8)",
    ),
    "images": (files.image_folder, "dog/003.png", "images(path='{}')"),
}


@pytest.mark.parametrize("form", CUT)
def test_a_truncated_file_is_one_error_with_its_name(form: str, tmp_path: Path) -> None:
    write, name, ref = CUT[form]
    write(tmp_path)
    _cut(tmp_path / name)
    assert str(tmp_path / name) in says(ref.format(tmp_path))


def test_a_truncated_archive_is_one_error(tmp_path: Path) -> None:
    files.packed(files.cifar10_binary(tmp_path), tmp_path / "cifar-10-binary.tar.gz")
    (tmp_path / "there").mkdir()
    there = (tmp_path / "cifar-10-binary.tar.gz").rename(tmp_path / "there" / "cifar-10-binary.tar.gz")
    _cut(there)
    assert f"{there}: a damaged archive" in says(f"cifar10(path='{there}')")


def test_an_incomplete_folder_says_what_it_lacks(tmp_path: Path) -> None:
    (files.cifar10_python(tmp_path / "a") / "data_batch_4").unlink()
    assert "it lacks data_batch_4" in says(f"cifar10(path='{tmp_path / 'a'}')")
    (files.svhn(tmp_path / "b") / "test_32x32.mat").unlink()
    assert "it lacks test_32x32.mat" in says(f"svhn(path='{tmp_path / 'b'}')")
    for file in (files.femnist(tmp_path / "c") / "test").iterdir():
        file.unlink()
    assert "lacks test/*.json" in says(f"femnist(path='{tmp_path / 'c'}')")
    (files.ham10000_folder(tmp_path / "d") / "HAM10000_images_part_1" / "ISIC_0024310.jpg").unlink()
    assert "line 6, column image_id: ISIC_0024310.jpg is not in" in says(f"ham10000_images(path='{tmp_path / 'd'}')")


def test_nothing_there_says_where_it_looked_and_how_to_get_it(tmp_path: Path) -> None:
    for name in ("cifar10", "cifar100", "svhn", "emnist", "kmnist", "mnist_csv", "femnist", "shakespeare", "medmnist"):
        with pytest.raises(UserError, match=f"{name} is not on this machine; looked in") as caught:
            data.load(name)
        assert name in str(caught.value).splitlines()[-1]
        with pytest.raises(UserError, match="does not exist"):
            data.load(f"{name}(path='{tmp_path / 'nowhere'}')")
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match="does not hold"):
            data.load(f"{name}(path='{tmp_path / 'empty'}')")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d, u: d["user_data"][u]["y"].append(3), "12 examples x and 13 labels y"),
        (
            lambda d, u: d["user_data"][u]["y"].__setitem__(2, 62),
            "example 2 .*a label from 0 to 61, got 62",
        ),
        (lambda d, u: d["user_data"][u]["y"].__setitem__(2, "a"), "needs a label from 0 to 61, got 'a'"),
        (lambda d, u: d["user_data"][u]["x"].__setitem__(1, [0.5] * 3), "example 1 .*femnist needs 784 numbers, got 3"),
        (lambda d, u: d["user_data"][u]["x"][1].__setitem__(7, 1.5), "example 1, pixel 7 .*got 1.5"),
        (lambda d, u: d["user_data"][u]["x"][1].__setitem__(7, float("nan")), "example 1, pixel 7 .*got nan"),
        (lambda d, u: d["user_data"].pop(u), "user_data needs lists x and y"),
        (lambda d, u: d["num_samples"].pop(), "num_samples has 4 numbers for 5 users"),
        (lambda d, u: d.pop("users"), "a file of LEAF has users, num_samples and user_data"),
        (lambda d, u: d["users"].__setitem__(1, u), "user 'f0000_11' is in .* already"),
    ],
)
def test_a_wrong_file_of_leaf_is_one_error_with_file_and_user(
    change: Callable[[dict[str, dict[str, dict[str, list[object]]]], str], object], text: str, tmp_path: Path
) -> None:
    (file,) = (files.femnist(tmp_path) / "train").iterdir()
    held = json.loads(file.read_text())
    change(held, "f0000_11")
    file.write_text(json.dumps(held))
    assert re.search(f"{re.escape(str(file))}.*{text}", says(f"femnist(path='{tmp_path}')"))


@pytest.mark.parametrize(
    ("x", "y", "text"),
    [
        ("a" * 79 + "é", "b", "character 'é' is beyond the vocabulary"),
        ("a" * 80, "{", "character '{' is beyond the vocabulary"),
        ("a" * 79, "b", "a text of 80 characters"),
        ("a" * 80, "bc", "and the one behind it"),
        ("a" * 80, 3, "and the one behind it"),
    ],
)
def test_a_character_beyond_the_vocabulary_is_one_error(x: str, y: object, text: str, tmp_path: Path) -> None:
    good = (["a" * 80, x], ["b", y])
    files.leaf(tmp_path, {"ROLE": good}, {"ROLE": (["a" * 80], ["b"])})
    assert re.search(f"train_9.json, user 'ROLE', example 1 .*{text}", says(f"shakespeare(path='{tmp_path}')"))


def test_labels_outside_the_classes_name_their_place(tmp_path: Path) -> None:
    binary = files.cifar10_binary(tmp_path / "a") / "data_batch_1.bin"
    content = bytearray(binary.read_bytes())
    content[3073] = 10
    binary.write_bytes(content)
    assert "data_batch_1.bin: label 1 (counted from 0) is 10, not one of 0 to 9" in says(f"cifar10(path='{binary}')")
    table = files.mnist_table(tmp_path / "m.csv")
    table.write_text(table.read_text().replace("\n3,", "\n10,", 1))
    assert "m.csv, line 5, column label: needs a label from 0 to 9, got 10" in says(f"mnist_csv(path='{table}')")
    from scipy.io import savemat

    savemat(files.svhn(tmp_path / "s") / "test_32x32.mat", {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": [[1], [0]]})
    assert "label 1 (counted from 0) is 0, not one of 1 to 10" in says(f"svhn(path='{tmp_path / 's'}')")
    archive = files.medmnist(tmp_path / "breastmnist.npz", classes=3, channels=1)
    assert "train_labels: label 2 (counted from 0) is 2, not one of 0 to 1" in says(
        f"medmnist(path='{archive}', name=breastmnist)"
    )
    metadata = files.ham10000_folder(tmp_path / "h") / "HAM10000_metadata.csv"
    metadata.write_text(metadata.read_text().replace(",nv,", ",naevus,", 1))
    assert "line 6, column dx: 'naevus' is none of HAM10000's" in says(f"ham10000_images(path='{tmp_path / 'h'}')")


@pytest.mark.parametrize(
    ("ref", "text"),
    [
        ("medmnist(name=dermamist)", "no 2-D set 'dermamist' - did you mean 'dermamnist'"),
        ("medmnist(name=chestmnist)", "may have several labels"),
        ("medmnist(name=organmnist3d)", "no 2-D set"),
        ("medmnist(size=32)", "sizes are 28, 64, 128, 224, got 32"),
        ("images(path='.', size=0)", "size needs a number from 1 to 4096"),
        ("images(path='.', size=[2, 3, 4])", "size needs a number"),
        ("npz", "path"),
        ("csv(path=x)", "label"),
    ],
)
def test_options_are_refused_by_name(ref: str, text: str) -> None:
    assert text in says(ref)


def test_a_set_of_another_shape_is_no_dermamnist(tmp_path: Path) -> None:
    archive = files.medmnist(tmp_path / "dermamnist.npz", channels=1)
    assert "needs uint8 images of 28 x 28 x 3, got uint8 (42, 28, 28)" in says(f"medmnist(path='{archive}')")
    np.savez(tmp_path / "other.npz", x=[1])
    assert "needs train_images, train_labels, test_images, test_labels, and the archive holds x" in says(
        f"medmnist(path='{tmp_path / 'other.npz'}')"
    )
