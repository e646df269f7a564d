"""Data sets in MNIST's four IDX files, 28 x 28 grey: MNIST, Fashion-MNIST, KMNIST and EMNIST.

MNIST: handwritten digits (LeCun, Bottou, Bengio and Haffner 1998). Fashion-MNIST: clothes (Xiao, Rasul and Vollgraf
2017). KMNIST: old Japanese characters (Clanuwat et al. 2018). EMNIST: handwritten letters and digits (Cohen, Afshar,
Tapson and van Schaik 2017); its files hold each image transposed, and here they stand upright, like MNIST's.
"""

from __future__ import annotations

from string import ascii_lowercase, ascii_uppercase, digits
from typing import Literal

from flipbench.data import idx
from flipbench.data.dataset import Dataset

By = Literal["balanced", "byclass", "bymerge", "letters", "digits", "mnist"]
_APART = "abdefghnqrt"  # small letters that do not look like their capitals
CHARACTERS: dict[str, tuple[str, ...]] = {
    "balanced": (*digits, *ascii_uppercase, *_APART),
    "byclass": (*digits, *ascii_uppercase, *ascii_lowercase),
    "bymerge": (*digits, *ascii_uppercase, *_APART),
    "letters": tuple(ascii_uppercase),
    "digits": tuple(digits),
    "mnist": tuple(digits),
}
ARCHIVE = "gzip.zip"
ARCHIVE_MD5 = "58c8d27c78d21e728a6bc7b3cc06412e"  # torchvision's mnist.py
ADDRESS = "https://biometrics.nist.gov/cs_links/EMNIST/"


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

KMNIST = idx.Spec(
    name="kmnist",
    folder="kmnist",
    inside="KMNIST/raw",
    classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    md5=(  # torchvision's mnist.py
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    ),
    mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    advice="get it with 'flipbench data kmnist --download', or give the folder of its four IDX files: "
    "kmnist(path='/some/folder')",
)


def emnist_spec(by: str) -> idx.Spec:
    """What EMNIST in one of its six splits is."""
    parts = [f"emnist-{by}-{side}-{what}" for side in ("train", "test") for what in ("images-idx3", "labels-idx1")]
    return idx.Spec(
        name="emnist",
        folder="emnist",
        inside="EMNIST/raw",
        classes=CHARACTERS[by],
        parts=tuple(f"{part}-ubyte" for part in parts),
        first_label=1 if by == "letters" else 0,
        transposed=True,
        advice=f"get it with 'flipbench data \"emnist(by={by})\" --download' (560 MB), or give the folder of its IDX "
        "files: emnist(path='/some/folder')",
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


def emnist(
    *, path: str | None = None, by: By = "balanced", train: int | None = None, test: int | None = None
) -> Dataset:
    """EMNIST: handwritten letters and digits, 28 x 28 grey, upright, in one of its six splits.

    Args:
        path: folder of the IDX files, packed or not; None: the usual places.
        by: ``balanced`` (47 classes), ``byclass`` (62), ``bymerge`` (47), ``letters`` (26), ``digits``, ``mnist`` (10).
        train: size of a class-stratified subset of the training images; None: all.
        test: the same for the test images.

    Raises:
        UserError: not found, incomplete or broken.
    """
    return idx.load(emnist_spec(by), path, train, test)


def kmnist(*, path: str | None = None, train: int | None = None, test: int | None = None) -> Dataset:
    """KMNIST's 60,000 training and 10,000 test images of old Japanese characters, 28 x 28, 10 classes.

    Args:
        path: folder of the four IDX files, packed or not; None: the usual places.
        train: size of a class-stratified subset of the training images; None: all.
        test: the same for the test images.

    Raises:
        UserError: not found, incomplete or broken.
    """
    return idx.load(KMNIST, path, train, test)
