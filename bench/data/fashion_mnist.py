"""Fashion-MNIST: 70,000 pictures of clothes, 28 x 28, in MNIST's format (Xiao, Rasul and Vollgraf 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flipbench.data import idx
from flipbench.data.dataset import Dataset

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

SPEC = idx.register(
    idx.Spec(
        name="fashion_mnist",
        folder="fashion-mnist",
        inside="FashionMNIST/raw",
        classes=CLASSES,
        official=(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        md5=(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        mirrors=(
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        advice="get it with 'flipbench data fashion_mnist --download', on Debian and Ubuntu with "
        "'apt install dataset-fashion-mnist', or give the folder of its four IDX files: "
        "fashion_mnist(path='/some/folder')",
    )
)


def load(*, path: str | None = None, train: int | None = None, test: int | None = None) -> Dataset:
    """Fashion-MNIST's 60,000 training and 10,000 test pictures of clothes, 28 x 28.

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
