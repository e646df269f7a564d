"""A cell, another value of each of its fields, and what a field goes together with."""

from __future__ import annotations

from typing import Any

from flipbench.spec.cell import Cell

BASE = Cell(attack="mirrored", malicious_count=3, local_steps=5, clients_per_round=10)


NEEDS: dict[str, dict[str, Any]] = {
    "local_epochs": {"local_steps": None},
    "malicious_fraction": {"malicious_count": None},
    "drop_last": {"local_steps": None},
    "schedule_clock": {"schedule": "step(every=2)"},
    "schedule_start": {"schedule": "step(every=2)"},
    "optimiser_state": {"momentum": 0.9},
    "noise_multiplier": {"clip_update": 1.0},
    "evaluate_on": {"validation_share": 0.25},
    "intent": {"attack": "uniform"},
    "noise_at": {"clip_update": 1.0, "noise_multiplier": 1.0},
}  # fields that a field goes together with, or has no effect without


OTHER: dict[str, Any] = {
    "dataset": "mnist",
    "features": "standard",
    "partition": "dirichlet(alpha=0.5)",
    "clients": 21,
    "clients_per_round": 11,
    "model": "softmax",
    "rounds": 31,
    "local_epochs": 2,
    "local_steps": 6,
    "batch_size": 16,
    "learning_rate": 0.2,
    "schedule": "cosine",
    "momentum": 0.5,
    "optimiser": "adam",
    "clip_gradient": 2.0,
    "algorithm": "scaffold",
    "server_optimiser": "yogi",
    "weight_decay": 0.1,
    "client_momentum": 0.9,
    "server_learning_rate": 0.5,
    "server_momentum": 0.9,
    "evaluate_every": 5,
    "attack": "uniform",
    "flip_rate": 0.5,
    "malicious_fraction": 0.3,
    "malicious_count": 4,
    "declared_byzantine": 5,
    "attack_start": 2,
    "attack_stop": 9,
    "attack_availability": 0.5,
    "validation_share": 0.25,
    "initialisation": "zeros",
    "sampling": "independent",
    "drop_last": True,
    "augmentation": "crop",
    "loss": "class_balanced",
    "reduction": "sum",
    "schedule_clock": "participation",
    "schedule_start": 5,
    "optimiser_state": "kept",
    "clip_update": 2.0,
    "noise_multiplier": 0.5,
    "noise_at": "client",
    "client_weights": "equal",
    "evaluate_last": 4,
    "evaluate_on": "validation",
    "intent": "honest",
    "malicious_data": "fresh",
    "flips_trained": False,
    "root_examples": 100,
    "aggregator": "krum",
    "seed": 1,
    "device": "cuda",
}
