"""Dask's own threads draw from no generator that plug-ins are watched for."""

from __future__ import annotations

import random
from importlib import import_module

from flipbench.execution.dask_worker import keep_dask_from_drawing


def test_sizes_are_guessed_without_pythons_global_generator() -> None:
    sizes, many = import_module("dask.sizeof"), list(range(1000))
    keep_dask_from_drawing()
    keep_dask_from_drawing()
    before = random.getstate()
    assert sizes.sizeof(many) > 0
    assert random.getstate() == before
    sizes.random = random  # as Dask has it: the test would see a draw
    sizes.sizeof(many)
    assert random.getstate() != before
    random.setstate(before)
    keep_dask_from_drawing()
