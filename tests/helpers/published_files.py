"""Writers of a few examples in the exact form in which data sets are published. Classes differ in colour or brightness,
so that a model learns something."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 32


def coloured(labels: Sequence[int], classes: int, side: int = SIDE, seed: int = 0) -> NDArray[np.uint8]:
    """Colour images ``(n, 3, side, side)``: noise around a colour of the class."""
    draw = np.random.default_rng(seed)
    colours = np.random.default_rng(99).integers(30, 226, (classes, 3))
    noise = draw.integers(-30, 31, (len(labels), 3, side, side))
    return (colours[np.asarray(labels)][:, :, None, None] + noise).clip(0, 255).astype(np.uint8)


def grey(labels: Sequence[int], side: int = 28, seed: int = 0) -> NDArray[np.uint8]:
    """Grey images ``(n, side, side)``: one bright row and column a class, which are not the same."""
    draw = np.random.default_rng(seed)
    x = draw.integers(0, 60, (len(labels), side, side)).astype(np.uint8)
    for i, label in enumerate(labels):
        x[i, label % side, : side // 2] = 250
        x[i, :, (2 * label + 1) % side] = 200
    return x


# --- CIFAR: pickles as Python 2 wrote them, opcode by opcode, and records --------------------------------------------


def _text(value: bytes) -> bytes:
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + len(value).to_bytes(4, "little") + value


def _number(value: int) -> bytes:
    return b"K" + bytes([value]) if value < 256 else b"M" + value.to_bytes(2, "little")


def _array(x: NDArray[np.uint8]) -> bytes:
    shape = _number(x.shape[0]) + _number(x.shape[1]) + b"\x86"
    kind = b"cnumpy\ndtype\n" + _text(b"u1") + _number(0) + _number(1) + b"\x87R("
    kind += _number(3) + _text(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2 + _number(0) + b"tb"
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + _number(0) + b"\x85" + _text(b"b") + b"\x87R"
    return made + b"(" + _number(1) + shape + kind + b"\x89" + _text(x.tobytes()) + b"tb"


def python2_pickle(batch: dict[bytes, Any]) -> bytes:
    """A mapping of texts to texts, lists of small numbers or texts, and an array of bytes, in protocol 2."""
    out = b"\x80\x02}("
    for key, value in batch.items():
        out += _text(key)
        if isinstance(value, bytes):
            out += _text(value)
        elif isinstance(value, list):
            out += b"](" + b"".join(_text(v) if isinstance(v, bytes) else _number(v) for v in value) + b"e"
        else:
            out += _array(value)
    return out + b"u."


def cifar10_batches(per_batch: int = 20) -> dict[str, tuple[NDArray[np.uint8], list[int]]]:
    """Pixels and labels of the six files."""
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    labels = {name: [(i * 3 + k) % 10 for i in range(per_batch)] for k, name in enumerate(names)}
    return {n: (coloured(y, 10, seed=k).reshape(len(y), -1), y) for k, (n, y) in enumerate(labels.items())}


def cifar10_python(root: Path, per_batch: int = 20) -> Path:
    """``cifar-10-batches-py`` below the root, as torchvision keeps it."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, (x, y) in cifar10_batches(per_batch).items():
        batch = {b"batch_label": name.encode(), b"labels": y, b"data": x, b"filenames": [b"a.png"] * len(y)}
        (folder / name).write_bytes(python2_pickle(batch))
    return folder


def cifar10_binary(root: Path, per_batch: int = 20) -> Path:
    """``cifar-10-batches-bin`` below the root."""
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name, (x, y) in cifar10_batches(per_batch).items():
        records = np.concatenate([np.array(y, np.uint8)[:, None], x], axis=1)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder


def cifar100(root: Path, binary: bool, rows: int = 110) -> Path:
    """``cifar-100-python`` or ``cifar-100-binary`` below the root."""
    folder = root / ("cifar-100-binary" if binary else "cifar-100-python")
    folder.mkdir(parents=True)
    for k, name in enumerate(("train", "test")):
        fine = [(i * 7 + k) % 100 for i in range(rows)]
        coarse = [f % 20 for f in fine]
        x = coloured(fine, 100, seed=k).reshape(rows, -1)
        if binary:
            heads = np.array([coarse, fine], np.uint8).T
            (folder / f"{name}.bin").write_bytes(np.concatenate([heads, x], axis=1).tobytes())
        else:
            batch = {b"filenames": [b"a"] * rows, b"fine_labels": fine, b"coarse_labels": coarse, b"data": x}
            (folder / name).write_bytes(python2_pickle(batch))
    return folder


def packed(folder: Path, archive: Path) -> Path:
    """A folder as a tar archive, as it is published."""
    with tarfile.open(archive, "w:gz") as out:
        out.add(folder, arcname=folder.name)
    return archive


# --- grey images in IDX files and tables -----------------------------------------------------------------------------


def idx(x: NDArray[np.uint8]) -> bytes:
    return bytes((0, 0, 8, x.ndim)) + b"".join(n.to_bytes(4, "big") for n in x.shape) + x.tobytes()


def idx_files(folder: Path, parts: Sequence[str], classes: int, first: int = 0, zipped: bool = False) -> Path:
    """Four IDX files: training images and labels, test images and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, (images, labels) in enumerate((parts[:2], parts[2:])):
        y = [(i + k) % classes for i in range(2 * classes)]
        for name, array in ((images, grey(y, seed=k)), (labels, np.array(y, np.uint8) + np.uint8(first))):
            content = idx(array)
            (folder / f"{name}{'.gz' * zipped}").write_bytes(gzip.compress(content, mtime=0) if zipped else content)
    return folder


def mnist_table(file: Path, header: str = "1x1", rows: int = 30, seed: int = 0) -> Path:
    """Kaggle's mnist_train.csv (``1x1``), its competition's train.csv (``pixel0``), or a table without a header."""
    y = [i % 10 for i in range(rows)]
    names = {
        "1x1": [f"{i}x{j}" for i in range(1, 29) for j in range(1, 29)],
        "pixel0": [f"pixel{i}" for i in range(784)],
    }
    lines = [["label", *names[header]]] if header else []
    lines += [[label, *x] for label, x in zip(y, grey(y, seed=seed).reshape(rows, -1).tolist(), strict=True)]
    with file.open("w", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows(lines)
    return file


# --- SVHN ------------------------------------------------------------------------------------------------------------


def svhn(folder: Path, rows: int = 40, names: Sequence[str] = ("train_32x32.mat", "test_32x32.mat")) -> Path:
    """MATLAB files with X (32, 32, 3, n) and y (n, 1), where 10 stands for the digit 0."""
    from scipy.io import savemat

    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        y = [(i + k) % 10 for i in range(rows)]
        x = coloured(y, 10, seed=k).transpose(2, 3, 1, 0)
        savemat(folder / name, {"X": x, "y": np.array([[d or 10] for d in y], np.uint8)}, do_compression=True)
    return folder


# --- LEAF ------------------------------------------------------------------------------------------------------------


def leaf(
    folder: Path, users: dict[str, tuple[list[Any], list[Any]]], test: dict[str, tuple[list[Any], list[Any]]]
) -> Path:
    """LEAF's folders train and test, a JSON file each."""
    for side, held in (("train", users), ("test", test)):
        (folder / side).mkdir(parents=True, exist_ok=True)
        content = {
            "users": list(held),
            "num_samples": [len(y) for _, y in held.values()],
            "user_data": {user: {"x": x, "y": y} for user, (x, y) in held.items()},
        }
        name = f"all_data_0_niid_0_keep_0_{side}_9.json"
        (folder / side / name).write_text(json.dumps(content))
    return folder


def femnist(folder: Path, writers: int = 5, rows: int = 12) -> Path:
    """Written characters by writer, each pixel a level over 255."""

    def of(k: int, number: int) -> tuple[list[Any], list[Any]]:
        y = [(k * 13 + i * 5) % 62 for i in range(number)]
        return (grey(y, seed=k).reshape(number, -1) / 255).tolist(), y

    names = [f"f{k:04d}_{k + 11}" for k in range(writers)]
    return leaf(
        folder, {n: of(k, rows + k) for k, n in enumerate(names)}, {n: of(k + 50, 3) for k, n in enumerate(names)}
    )


_LINES = "shall i compare thee to a summer's day? thou art more lovely and more temperate: "


def shakespeare(folder: Path, roles: int = 4, rows: int = 30) -> Path:
    """Windows of 80 characters and the character behind each, by role."""

    def of(k: int, number: int) -> tuple[list[Any], list[Any]]:
        text = " " * 80 + _LINES[k * 7 :] + _LINES * 3
        return [text[i : i + 80] for i in range(number)], [text[i + 80] for i in range(number)]

    names = [f"PLAY_{k}_ROLE_{k}" for k in range(roles)]
    return leaf(
        folder, {n: of(k, rows + k) for k, n in enumerate(names)}, {n: of(k + 3, 6) for k, n in enumerate(names)}
    )


# --- medical images --------------------------------------------------------------------------------------------------


def medmnist(file: Path, classes: int = 7, channels: int = 3, size: int = 28, rows: int = 42) -> Path:
    """A NumPy archive of MedMNIST: images (n, size, size[, 3]) and labels (n, 1), of three parts."""
    held = {}
    for k, side in enumerate(("train", "val", "test")):
        y = [(i + k) % classes for i in range(rows)]
        x = coloured(y, classes, size, seed=k).transpose(0, 2, 3, 1)
        held[f"{side}_images"] = x if channels == 3 else x[..., 0]
        held[f"{side}_labels"] = np.array(y, np.uint8)[:, None]
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, **held)
    return file


DIAGNOSES = ("akiec", "bcc", "bkl", "df", "nv", "vasc", "mel")


def ham10000_metadata(file: Path, labels: Sequence[int], images_a_lesion: int = 2) -> Path:
    """HAM10000_metadata.csv: several images may show one lesion, which has one diagnosis."""
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    seen = [0] * len(DIAGNOSES)
    for i, label in enumerate(labels):
        lesion = seen[label] // images_a_lesion
        seen[label] += 1
        lines.append(f"HAM_{label}_{lesion:05d},ISIC_{24306 + i:07d},{DIAGNOSES[label]},histo,60.0,male,back")
    file.write_text("\n".join(lines) + "\n")
    return file


def ham10000_rgb(folder: Path, rows: int = 140) -> Path:
    """hmnist_28_28_RGB.csv, pixels row by row with their three channels, and the metadata beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = [i % 7 for i in range(rows)]
    x = coloured(labels, 7, 28).transpose(0, 2, 3, 1).reshape(rows, -1).tolist()
    lines = [[*(f"pixel{i:04d}" for i in range(28 * 28 * 3)), "label"]]
    lines += [[*pixels, label] for pixels, label in zip(x, labels, strict=True)]
    with (folder / "hmnist_28_28_RGB.csv").open("w", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows(lines)
    ham10000_metadata(folder / "HAM10000_metadata.csv", labels)
    return folder


def ham10000_folder(folder: Path, rows: int = 140, size: tuple[int, int] = (60, 45)) -> Path:
    """HAM10000_images_part_1 and _2 with JPEG files, and the metadata beside them."""
    from PIL import Image

    labels = [i % 7 for i in range(rows)]
    x = coloured(labels, 7, max(size)).transpose(0, 2, 3, 1)[:, : size[1], : size[0]]
    for part in ("1", "2"):
        (folder / f"HAM10000_images_part_{part}").mkdir(parents=True)
    for i, pixels in enumerate(x):
        part = folder / f"HAM10000_images_part_{1 + (i >= rows // 2)}"
        Image.fromarray(pixels).save(part / f"ISIC_{24306 + i:07d}.jpg", quality=95)
    ham10000_metadata(folder / "HAM10000_metadata.csv", labels)
    return folder


# --- one's own -------------------------------------------------------------------------------------------------------


def image_folder(folder: Path, classes: Sequence[str] = ("cat", "dog"), rows: int = 10, side: int = 12) -> Path:
    """A folder of PNG files for each class."""
    from PIL import Image

    for c, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i, pixels in enumerate(coloured([c] * rows, len(classes), side, seed=c).transpose(0, 2, 3, 1)):
            Image.fromarray(pixels).save(folder / name / f"{i:03d}.png")
    return folder


def patients(file: Path, rows: int = 60, hospitals: int = 6, mark: str = ",") -> Path:
    """A table with numbers, texts, a label and the hospital of each line."""
    draw = np.random.default_rng(3)
    out = io.StringIO()
    lines = csv.writer(out, delimiter=mark, lineterminator="\n")
    lines.writerow(["age", "pressure", "sex", "hospital", "outcome"])
    for i in range(rows):
        ill = i % 3
        lines.writerow(
            [
                int(draw.integers(20, 90)),
                f"{draw.normal(80 + 30 * ill, 5):.1f}",
                ("female", "male")[i % 2],
                f"hospital {(i // 3) % hospitals}",
                ("well", "ill", "very ill")[ill],
            ]
        )
    file.write_text(out.getvalue())
    return file
