"""What CUDA computes beside what the CPU does. `tests/test_batched_convolution.py` has the layers of pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flipbench import aggregators
from flipbench.conformance.aggregators import checks
from flipbench.federation import run_stack
from flipbench.federation.checkpoints.files import Checkpoints
from flipbench.federation.records import Job
from flipbench.grid.reader import contents
from flipbench.spec.cell import Cell
from flipbench.system import cuda_devices
from tests.helpers.tiny_runs import GRID, broken_off, numbers, read, run

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here")

BASE = Cell(
    **{"dataset": "digits", "clients": 10, "model": "mlp(widths=[16])", "rounds": 5, "local_steps": 3, "seed": 1},
    **{"batch_size": 8, "malicious_count": 3, "attack": "mirrored", "aggregator": "mean", "device": "cuda"},
)
CNN = "cnn(channels=[3, 6], kernel=3, padding=1, hidden=[8])"
SUBJECTS = {
    "softmax regression": replace(BASE, model="softmax"),
    "perceptron": BASE,
    "one step": replace(BASE, local_steps=1, client_momentum=0.9),
    "full batches": replace(BASE, batch_size="full", local_steps=2),
    "convolution": replace(BASE, model=CNN),
    "convolution, one step": replace(BASE, model=CNN, local_steps=1, sampling="independent"),
    "batch norm and kept optimisers": replace(
        BASE,
        **{"model": CNN.replace(")", ", norm=batch)"), "momentum": 0.9, "optimiser_state": "kept"},
        **{"schedule": "step(every=2, factor=0.5)", "schedule_clock": "participation", "clients_per_round": 4},
    ),
    "dropout": replace(
        BASE, model=CNN.replace(")", ", dropout=0.5, channel_dropout=0.25)"), partition="dirichlet(alpha=1)"
    ),
    "epochs of uneven clients": replace(
        BASE, local_steps=None, local_epochs=2, partition="dirichlet(alpha=0.5)", momentum=0.5, weight_decay=0.01
    ),
    "augmentation, weights, clipping": replace(
        BASE, model=CNN, augmentation="crop(padding=1)", loss="class_balanced", clip_update=0.05
    ),
    "noise of the clients": replace(BASE, clip_update=0.05, noise_multiplier=0.5, noise_at="client"),
    "noise of the server": replace(BASE, clip_update=0.05, noise_multiplier=5.0),
    "trusted data": replace(BASE, aggregator="fltrust", root_examples=20),
    "rule with memory": replace(BASE, aggregator="foolsgold", clients_per_round=5),
    "attack on updates": replace(BASE, attack="gaussian(deviation=null)", aggregator="trimmed_mean"),
    "attack with memory": replace(BASE, attack="mimic(warmup=2)", aggregator="median"),
    "backdoor": replace(BASE, attack="backdoor(target=3, size=2)", model=CNN),
    "dynamic labels": replace(BASE, attack="least_likely"),
    "many clients": replace(BASE, clients=1100, malicious_count=300, batch_size=1, rounds=2, aggregator="median"),
}


def perform(*cells: Cell) -> list[dict[str, Any]]:
    records = run_stack.perform([Job(cell, contents(cell)) for cell in cells], {})
    assert all(r["status"] == "done" for r in records), records[0]["traceback"] or records[0]["reason"]
    return [r["result"] for r in records]


@needs_cuda
@pytest.mark.parametrize("rule", list(aggregators.RULES))
def test_a_rule_s_answer_stays_on_the_device_and_is_that_of_the_cpu(rule: str) -> None:
    (check,) = [c for c in checks(rule) if c.name == "cuda"]
    check()


@needs_cuda
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_federation_is_that_of_the_cpu(subject: str) -> None:
    """The same draws, so the same training up to rounding: the lengths of all updates in all rounds, and the models."""
    cell = SUBJECTS[subject]
    (there,), (here,) = perform(cell), perform(replace(cell, device="cpu"))
    assert {k: there[k] for k in ("clients", "malicious", "flips", "examples")} == {
        k: here[k] for k in ("clients", "malicious", "flips", "examples")
    }
    np.testing.assert_allclose(there["norms"][0], here["norms"][0], rtol=2e-3, atol=1e-6)
    # Rounding grows from round to round, fastest through batch norm: 0.7 % in the fifth on an H100.
    np.testing.assert_allclose(there["norms"], here["norms"], rtol=2e-2, atol=1e-6)
    np.testing.assert_allclose(there["influence"], here["influence"], rtol=0.05, atol=0.05)
    moved = np.abs(np.array(there["confusion"]) - np.array(here["confusion"])).sum((1, 2)) / 2
    assert moved.max() <= 5  # of 360 test examples that lie on a border


@needs_cuda
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_second_run_has_the_same_bits(subject: str) -> None:
    assert json.dumps(perform(SUBJECTS[subject])) == json.dumps(perform(SUBJECTS[subject]))


@needs_cuda
def test_a_stack_is_its_cells() -> None:
    """Up to rounding: products of another shape may be summed in another order there."""
    cells = [replace(SUBJECTS["convolution"], seed=s, attack=a) for s in (0, 1) for a in ("mirrored", "none")]
    for together, alone in zip(perform(*cells), [perform(c)[0] for c in cells], strict=True):
        np.testing.assert_allclose(together["norms"], alone["norms"], rtol=1e-3, atol=1e-6)


@needs_cuda
def test_a_resumed_cell_has_the_bits_of_an_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = SUBJECTS["batch norm and kept optimisers"]
    jobs, places = [Job(cell, contents(cell))], Checkpoints(str(tmp_path), every=0.0)
    broken_off(jobs, places, 3, monkeypatch)
    (resumed,) = run_stack.perform(jobs, {}, None, places)
    assert resumed["provenance"]["checkpoint"] == "resumed after round 3"
    assert json.dumps(resumed["result"]) == json.dumps(perform(cell)[0])


@needs_cuda
def test_workers_share_a_device(tmp_path: Path) -> None:
    grid = read(tmp_path, GRID, overrides=["device=cuda"])
    assert run(grid, tmp_path / "one").failed == run(grid, tmp_path / "three", workers=3).failed == ()
    assert numbers(tmp_path / "one") == numbers(tmp_path / "three")


class Device:
    """Devices with so many free bytes each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int, free: int, told: str | None = None) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 2 * free))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if told is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)


def test_workers_are_dealt_out_to_the_devices_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    Device(monkeypatch, 2, 80 << 30)
    assert cuda_devices.devices_of_workers(5) == ["0", "1", "0", "1", "0"]
    assert cuda_devices.memory(5) == (80 << 30) // 3
    assert cuda_devices.memory(1) == 80 << 30


def test_no_more_workers_than_the_memory_is_enough_for(monkeypatch: pytest.MonkeyPatch) -> None:
    Device(monkeypatch, 1, 9 << 30)
    assert cuda_devices.devices_of_workers(16) == ["0", "0"]
    Device(monkeypatch, 1, 1 << 30)
    assert cuda_devices.devices_of_workers(16) == ["0"]


def test_devices_that_the_user_hid_stay_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    Device(monkeypatch, 1, 80 << 30, told="3")
    assert cuda_devices.devices_of_workers(2) == ["3", "3"]


def test_without_a_device_a_worker_sees_what_the_driver_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    Device(monkeypatch, 0, 0)
    assert cuda_devices.devices_of_workers(4) == [None]
    assert cuda_devices.memory(4) == 0


def test_a_stack_takes_its_worker_s_share_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    Device(monkeypatch, 1, 80 << 30)
    parameters = 64 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10
    cell = replace(BASE, model="mlp(widths=[512, 512])", clients=50)
    of_a_cell = 12 * 4 * 50 * parameters
    assert run_stack.width(cell, 1) == (80 << 30) // of_a_cell
    assert run_stack.width(cell, 4) == (20 << 30) // of_a_cell
    Device(monkeypatch, 1, 1 << 20)
    assert run_stack.width(cell, 4) == 1  # the smallest stack, whatever is free
