"""Data files that tests damage, and checks that reading one gives what it holds or an error."""

from __future__ import annotations

import gzip
import math
import zlib

import pytest

from flipbench import data
from flipbench.data import file_bytes, idx, pixel_csv
from flipbench.data.readers import ham10000
from flipbench.errors import UserError

HEADER = ham10000.GREY.header.decode()


KNOWN = ("akiec", "bcc", "bkl", "df", "nv", "vasc", "mel")


def rows(count=35):
    """Pixel values 0 to 255 in every width, labels 0 to 6 in turn."""
    return [[*((i * 31 + j) % 256 for j in range(784)), i % 7] for i in range(count)]


def text(table, end="\n"):
    return end.join([HEADER, *(",".join(map(str, r)) for r in table)]) + end


def says(function, *args):
    with pytest.raises(UserError) as caught:
        function(*args)
    message = str(caught.value)
    assert len(message) < 900
    return message


def load(path, **options):
    given = "".join(f", {k}='{v}'" for k, v in options.items())
    return data.load(f"ham10000(path='{path}'{given})")


def header(*sizes, magic=None):
    return (magic or bytes((0, 0, 8, len(sizes)))) + b"".join(n.to_bytes(4, "big") for n in sizes)


def good():
    return {
        "train-images-idx3-ubyte": header(10, 28, 28) + bytes(range(256)) * 30 + bytes(160),
        "train-labels-idx1-ubyte": header(10) + bytes(range(10)),
        "t10k-images-idx3-ubyte": header(5, 28, 28) + bytes(5 * 784),
        "t10k-labels-idx1-ubyte": header(5) + bytes(range(5)),
    }


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


NAMES = ("a", "b", "c", "label")


DAMAGE = [b"", b",", b"\n", b"\r\n", b"\r", b"-", b"x", b"9", b"256", b" ", b"\0", b"\xff", b"NaN", b'"', b"1,1,1,1\n"]


def plainly(content):
    """The table by the letter of the rules, or None."""
    lines = content.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    table = [line.split(b",") for line in lines]
    fields = [f for line in table for f in line]
    if any(len(line) != len(NAMES) for line in table):
        return None
    if not all(1 <= len(f) <= 3 and all(48 <= c <= 57 for c in f) and int(f) < 256 for f in fields):
        return None
    return [[int(f) for f in line] for line in table]


def check_csv(content):
    expected = plainly(content)
    if expected is None:
        assert "f.csv, line " in says(lambda: pixel_csv.parse(content, NAMES, "f.csv"))
    else:
        assert pixel_csv.parse(content, NAMES, "f.csv").tolist() == expected


def unpacked(content):
    """The bytes of a file, decompressed where they start like gzip; None where they are a broken one or a zip."""
    try:
        return (
            None
            if content[:4] == b"PK\x03\x04"
            else gzip.decompress(content)
            if content[:2] == b"\x1f\x8b"
            else content
        )
    except (OSError, EOFError, zlib.error):
        return None


def plainly_idx(content, dimensions):
    """Sizes and values by the letter of the format, or None."""
    if content is None or content[:4] != bytes((0, 0, 8, dimensions)) or len(content) < 4 + 4 * dimensions:
        return None
    sizes = [int.from_bytes(content[at : at + 4], "big") for at in range(4, 4 + 4 * dimensions, 4)]
    values = content[4 + 4 * dimensions :]
    return (sizes, list(values)) if math.prod(sizes) == len(values) > 0 else None


def check_idx(content, file):
    file.write_bytes(content)
    for dimensions in (1, 3):
        expected = plainly_idx(unpacked(content), dimensions)
        if expected is None:
            assert says(lambda d=dimensions: idx.parse(file_bytes.read(file), d, str(file))).startswith(str(file))
        else:
            array = idx.parse(file_bytes.read(file), dimensions, str(file))
            assert (list(array.shape), array.flatten().tolist()) == expected
