"""Arrays, tables and lists that people have, as a data set: what is taken, and what is refused with a hint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import flipbench as fb
from flipbench import data

N = 30
X = np.arange(N * 2, dtype=np.float32).reshape(N, 2)
Y = np.arange(N) % 3
NAMES = np.array(["dog", "ant", "cat"])[Y]
TABLE = pd.DataFrame({"a": X[:, 0].astype(int), "b": X[:, 1]})


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (TABLE, pd.Series(Y, index=range(5, N + 5))),
        (X.tolist(), Y.tolist()),
        (torch.from_numpy(X).double(), torch.from_numpy(Y).int()),
    ],
)
def test_tables_and_lists_are_the_arrays_that_they_hold(x: Any, y: Any) -> None:
    assert fb.Dataset.of(x, y).sha256 == fb.Dataset.of(X, Y).sha256


def test_truth_values_are_features_and_labels() -> None:
    one, other = fb.Dataset.of(X > 20, Y > 0), fb.Dataset.of((X > 20).astype(np.float32), (Y > 0).astype(int))
    assert one.sha256 == other.sha256
    assert one.kind == "features"


def test_names_are_classes_by_their_letters_or_in_the_order_given() -> None:
    for y in (NAMES, NAMES.tolist(), pd.Series(NAMES), pd.Series(NAMES).astype("category")):
        d = fb.Dataset.of(X, y)
        assert d.classes == ("ant", "cat", "dog")
        for row, label in zip(d.train_x.tolist(), d.train_y.tolist(), strict=True):
            assert d.classes[label] == NAMES[int(row[0]) // 2]
    d = fb.Dataset.of(X, NAMES, classes=["dog", "ant", "cat"], test=(X[:3], NAMES[:3]))
    assert d.test_y.tolist() == [0, 1, 2]
    with pytest.raises(fb.UserError, match="the label 'cat' is none of the classes dog, ant"):
        fb.Dataset.of(X, NAMES, classes=["dog", "ant"])


def test_names_are_natural_clients_and_come_back_from_the_archive() -> None:
    owners = np.array(["north", "east"])[np.arange(N) // 15]
    d = fb.Dataset.of(X, Y, clients=pd.Series(owners))
    assert d.client_names == ("east", "north")
    again = data.load(d.as_reference())
    assert (again.client_names, again.sha256) == (d.client_names, d.sha256)
    assert d.clients is not None
    for row, c in zip(d.train_x.tolist(), d.clients.tolist(), strict=True):
        assert d.client_names[c] == owners[int(row[0]) // 2]


def test_labels_that_leave_numbers_out_are_refused_unless_the_classes_are_named(tmp_path: Any) -> None:
    gaps = np.array([0, 1, 5])[Y]
    with pytest.raises(fb.UserError, match=r"labels run to 5, and no example has the label 2, 3, 4: .*return_inverse"):
        fb.Dataset.of(X, gaps)
    assert len(fb.Dataset.of(X, gaps, classes=list("abcdef")).classes) == 6
    assert len(fb.Dataset.of(X, Y, test=(X, (Y + 1) % 4)).classes) == 4  # a class of the test side alone is one
    with pytest.raises(fb.UserError, match="no example has the label 0"):
        fb.Dataset.of(X, Y + 1)
    with pytest.raises(fb.UserError, match="only 3 different labels occur"):
        fb.Dataset.of(X, Y * 10**9)
    file = tmp_path / "mine.npz"
    np.savez(file, x=X, y=gaps)
    with pytest.raises(fb.UserError, match=f"{file}: labels run to 5"):
        data.load(f"npz(path='{file}')")
    assert len(data.load(f"npz(path='{file}', classes=[a, b, c, d, e, f])").classes) == 6


def test_a_data_set_does_not_change_with_the_array_that_it_was_made_of() -> None:
    images = np.zeros((N, 1, 2, 2), np.uint8)
    d = fb.Dataset.of(images, Y)
    images[:] = 9
    assert int(d.train_x.max()) == 0
