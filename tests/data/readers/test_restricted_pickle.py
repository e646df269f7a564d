"""Pickles as data: arrays and containers are read as Python reads them, and nothing that a pickle names is run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flipbench import data
from flipbench.data.files import restricted_pickle
from flipbench.errors import UserError
from tests.helpers import published_files as files

ARRAYS = [
    np.arange(12, dtype=np.uint8).reshape(3, 4),
    np.asfortranarray(np.arange(12, dtype=np.int32).reshape(3, 4)),
    np.linspace(0, 1, 5, dtype=">f8"),
    np.array(7, dtype=np.uint8),
    np.zeros((0, 3), np.uint8),
]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_it_reads_what_python_reads(protocol: int) -> None:
    held = {"data": ARRAYS, b"labels": [1, 2, 3], "name": ("a", b"b", None, 1.5, True)}
    got = restricted_pickle.loads(pickle.dumps(held, protocol=protocol), "file")
    assert got[b"labels"] == [1, 2, 3]
    assert got["name"] == ("a", b"b", None, 1.5, True)
    for one, two in zip(got["data"], ARRAYS, strict=True):
        np.testing.assert_array_equal(one, two)
        assert one.dtype == two.dtype


def test_the_fixture_is_what_python_2_wrote() -> None:
    x = np.arange(6, dtype=np.uint8).reshape(2, 3)
    content = files.python2_pickle({b"labels": [1, 2], b"data": x, b"batch_label": b"training"})
    for read in (lambda c: restricted_pickle.loads(c, "file"), lambda c: pickle.loads(c, encoding="bytes")):
        held = read(content)
        np.testing.assert_array_equal(held.pop(b"data"), x)
        assert held == {b"labels": [1, 2], b"batch_label": b"training"}


class _Runs:
    """Its pickle calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _hostile(mark: Path) -> dict[str, bytes]:
    command = f"touch {mark}"
    calls = {
        "os.system": _Runs(os.system, command),
        "eval": _Runs(eval, f"open({str(mark)!r}, 'w')"),
        "exec": _Runs(exec, f"open({str(mark)!r}, 'w')"),
        "getattr": _Runs(getattr, "a", "upper"),
        "open": _Runs(open, str(mark), "w"),
        "numpy.save": _Runs(np.save, str(mark), 1),
        "in a list": [1, {"a": _Runs(os.system, command)}],
    }
    made = {name: pickle.dumps(value, protocol=2) for name, value in calls.items()}
    made["numpy.load"] = b"\x80\x02cnumpy\nload\nU\x05a.npy\x85R."
    made["dotted"] = b"\x80\x04\x8c\x05numpy\x8c\x0bndarray.tofile\x93."
    made["a marker called"] = b"\x80\x02cnumpy\nndarray\nK\x01\x85R."
    made["an array of objects"] = pickle.dumps(np.array([{}, []], dtype=object), protocol=2)
    made["persistent"] = b"\x80\x02U\x01aQ."
    made["build on a marker"] = b"\x80\x02cnumpy\nndarray\n}U\x01aK\x01sb."
    return made


@pytest.mark.parametrize("name", _hostile(Path("mark")))
def test_nothing_else_is_run_or_made(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(UserError, match=r"not a pickle of arrays, texts and numbers alone.*nothing of it was run"):
        restricted_pickle.loads(_hostile(mark)[name], "file")
    assert not mark.exists()
    batch = files.cifar10_python(tmp_path / "c") / "data_batch_2"
    batch.write_bytes(_hostile(mark)[name])
    with pytest.raises(UserError, match="data_batch_2"):
        data.load(f"cifar10(path='{tmp_path / 'c'}')")
    assert not mark.exists()


def test_a_shape_that_its_bytes_do_not_fill_is_refused() -> None:
    content = files.python2_pickle({b"data": np.zeros((3, 4), np.uint8)}).replace(b"K\x03K\x04\x86", b"K\xffK\xff\x86")
    with pytest.raises(UserError, match=r"an array of shape \(255, 255\) with 12 numbers"):
        restricted_pickle.loads(content, "file")


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_a_damaged_pickle_is_one_error(cut: int) -> None:
    content = files.python2_pickle({b"labels": [1, 2], b"data": np.zeros((3, 40), np.uint8)})
    with pytest.raises(UserError, match=r"^file: not a pickle"):
        restricted_pickle.loads(content[:cut], "file")
