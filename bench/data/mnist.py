"""MNIST and Fashion-MNIST: 70,000 images each, 28 x 28, in the same file format.

MNIST: handwritten digits (LeCun, Bottou, Bengio and Haffner 1998). Fashion-MNIST: clothes (Xiao, Rasul and Vollgraf
2017).
"""

from __future__ import annotations

from flipbench.data import idx
from flipbench.data.dataset import Dataset

CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

MNIST = idx.register(
    idx.Spec(
        name="mnist",
        folder="mnist",
        inside="MNIST/raw",
        classes=tuple("0123456789"),
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

FASHION_MNIST = idx.register(
    idx.Spec(
        name="fashion_mnist",
        folder="fashion-mnist",
        inside="FashionMNIST/raw",
        classes=CLOTHES,
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


def mnist(*, path: str | None = None, train: int | None = None, test: int | None = None) -> Dataset:
    """MNIST's 60,000 training and 10,000 test images of handwritten digits, 28 x 28.

    Args:
        path: folder of the four IDX files, packed or not; None: the usual places.
        train: size of a class-stratified subset of the training images; None: all.
        test: the same for the test images.

    Raises:
        UserError: not found, incomplete or broken.
    """
    return idx.load(MNIST, path, train, test)


def fashion_mnist(*, path: str | None = None, train: int | None = None, test: int | None = None) -> Dataset:
    """Fashion-MNIST's 60,000 training and 10,000 test images of clothes, 28 x 28.

    Args:
        path: folder of the four IDX files, packed or not; None: the usual places.
        train: size of a class-stratified subset of the training images; None: all.
        test: the same for the test images.

    Raises:
        UserError: not found, incomplete or broken.
    """
    return idx.load(FASHION_MNIST, path, train, test)
