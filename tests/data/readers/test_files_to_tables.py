"""From files in their published form to a table: each kind of data is trained on, attacked and evaluated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flipbench as fb
from tests.helpers import published_files as files

RUNS: dict[str, tuple[Callable[[Path], object], str, dict[str, Any]]] = {
    "colour images": (
        files.cifar10_python,
        "cifar10(path='{}')",
        {"model": "mlp(widths=[8])", "partition": "dirichlet(alpha=1)", "features": "standard", "learning_rate": 0.05},
    ),
    "texts with roles": (
        lambda folder: files.shakespeare(folder, rows=20),
        "shakespeare(path='{}')",
        {"model": "lstm(embedding=4, hidden=6, layers=1)", "partition": "natural", "clients": 4},
    ),
    "tables with hospitals": (
        lambda folder: files.patients(folder / "t.csv"),
        "csv(path='{}/t.csv', label=outcome, client=hospital)",
        {"model": "softmax", "partition": "natural", "clients": 6, "features": "standard", "learning_rate": 0.2},
    ),
    "lesions in colour, by lesion": (
        lambda folder: files.ham10000_folder(folder, rows=70),
        "ham10000_images(path='{}', size=12)",
        {"model": "cnn(channels=[4], kernel=3, hidden=[8])", "features": "standard", "clients": 5},
    ),
}


@pytest.mark.parametrize("what", RUNS)
def test_files_become_a_table(what: str, tmp_path: Path) -> None:
    write, ref, fields = RUNS[what]
    write(tmp_path)
    base = {"clients": 5, "rounds": 3, "batch_size": 8, "local_steps": 2, "dataset": ref.format(tmp_path), **fields}
    axes = {"aggregator": ["fedavg", "median"], "attack": ["targeted(source=0, target=1)"], "malicious_fraction": [0.2]}
    grid = fb.read_grid({"name": "files", "base": base, "axes": {**axes, "seed": [0]}})
    results = fb.run(grid, workers=1, results=tmp_path / "results", progress=False)
    assert len(results.cells) == 4
    assert results.cells["accuracy"].between(0, 1).all()
    assert set(results.table("accuracy").frame.index) >= {"fedavg", "median"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"features": "standard"}, "token ids: leave features at unit"),
        ({"augmentation": "crop(padding=2)"}, "augmentation crop.* is for images"),
        ({"attack": "backdoor(target=1)"}, "stamps images"),
        ({"model": "softmax"}, "softmax takes images or features, and the data are 80 token ids"),
        ({"model": "lstm(hidden=0)"}, "hidden"),
        ({"clients": 5}, "of 4 natural clients 4 have at least 2 examples, and there are to be 5 clients"),
        ({"partition": "natural(minimum=99)"}, "lower minimum to at most 33"),
    ],
)
def test_what_texts_cannot_be_asked_is_said_when_the_grid_is_read(
    fields: dict[str, Any], said: str, tmp_path: Path
) -> None:
    files.shakespeare(tmp_path)
    base = {
        "dataset": f"shakespeare(path='{tmp_path}')",
        "model": "lstm(hidden=4)",
        "partition": "natural",
        "clients": 4,
    }
    with pytest.raises(fb.GridError, match=said):
        fb.read_grid({"name": "t", "base": {**base, "malicious_fraction": 0.25, "attack": "mirrored", **fields}})


def test_natural_needs_data_that_have_clients() -> None:
    with pytest.raises(fb.GridError, match=r"natural needs data with natural clients.*digits"):
        fb.read_grid("smoke", {"partition": "natural"})
