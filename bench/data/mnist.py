"""MNIST: 70,000 handwritten digits, 28 x 28 (LeCun, Bottou, Bengio and Haffner 1998)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flipbench.data import idx
from flipbench.data.dataset import Dataset

CLASSES = tuple("0123456789")

SPEC = idx.register(
    idx.Spec(
        name="mnist",
        folder="mnist",
        inside="MNIST/raw",
        classes=CLASSES,
        official=(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        md5=(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        advice="get it with 'flipbench data mnist --download', or give the folder of its four IDX files: "
        "mnist(path='/some/folder')",
    )
)


def load(*, path: str | None = None, train: int | None = None, test: int | None = None) -> Dataset:
    """MNIST's 60,000 training and 10,000 test images of handwritten digits, 28 x 28.

    Args:
        path: folder of the four IDX files, packed or not; None: the usual places.
        train: size of a class-stratified subset of the training images; None: all.
        test: the same for the test images.

    Raises:
        UserError: not found, incomplete or broken.
    """
    return idx.load(SPEC, path, train, test)


def content(options: Mapping[str, Any]) -> str:
    """The content hash without parsing."""
    return idx.content(SPEC, options.get("path"))
