"""EMNIST and KMNIST: handwritten letters and digits, and old Japanese characters, in MNIST's IDX files.

EMNIST: Cohen, Afshar, Tapson and van Schaik 2017. Its files hold each image transposed; here they stand upright, like
MNIST's. KMNIST: Clanuwat et al. 2018.
"""

from __future__ import annotations

from string import ascii_lowercase, ascii_uppercase, digits
from typing import Literal

from flipbench.data import idx
from flipbench.data.dataset import Dataset

By = Literal["balanced", "byclass", "bymerge", "letters", "digits", "mnist"]
_APART = "abdefghnqrt"  # small letters that do not look like their capitals
CLASSES: dict[str, tuple[str, ...]] = {
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


def spec(by: str) -> idx.Spec:
    """What EMNIST in one of its six splits is."""
    parts = [f"emnist-{by}-{side}-{what}" for side in ("train", "test") for what in ("images-idx3", "labels-idx1")]
    return idx.Spec(
        name="emnist",
        folder="emnist",
        inside="EMNIST/raw",
        classes=CLASSES[by],
        parts=tuple(f"{part}-ubyte" for part in parts),
        first_label=1 if by == "letters" else 0,
        transposed=True,
        advice=f"get it with 'flipbench data \"emnist(by={by})\" --download' (560 MB), or give the folder of its IDX "
        "files: emnist(path='/some/folder')",
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
    return idx.load(spec(by), path, train, test)


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
