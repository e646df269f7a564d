"""From noise to ε and back, in Python and on the command line."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

import flipbench as fb
from flipbench.cli.app import app
from flipbench.privacy import accounting

pytest.importorskip("dp_accounting", reason="ε needs the extra privacy")


def test_both_ways_with_the_names_of_a_grid() -> None:
    z = fb.noise_multiplier(8, rounds=30, clients=100)
    assert fb.epsilon(z, rounds=30, clients=100) == accounting.epsilon(z, 30, 100, 100, 1e-5) <= 8
    local = fb.epsilon(2, rounds=5, clients=40, clients_per_round=10, noise_at="client", delta=1e-3)
    assert local == accounting.epsilon(2.0, 5, 40, 10, 1e-3, "client")
    assert fb.epsilon(2, rounds=5, clients=40, neighbours="removed") == fb.epsilon(4, rounds=5, clients=40)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"noise_at": "both"}, "noise_at is server or client, got 'both'"),
        ({"neighbours": "some"}, "neighbours is replaced or removed, got 'some'"),
        ({"clients": 0}, "the number of clients is at least 1, got 0"),
        ({"clients_per_round": 41}, "41 clients per round are more than the 40 clients"),
        ({"delta": 2}, "δ is a probability above 0 and below 1, got 2"),
    ],
)
def test_mistakes_are_one_sentence(more: dict[str, Any], said: str) -> None:
    for function in (fb.epsilon, fb.noise_multiplier):
        with pytest.raises(fb.UserError) as error:
            function(3.0, **{"rounds": 5, "clients": 40, **more})
        assert str(error.value) == said


def test_the_command_prints_both() -> None:
    said = CliRunner().invoke(app, ["privacy", "--epsilon", "8", "--rounds", "30", "--clients", "100"])
    assert said.exit_code == 0, said.output
    assert said.output.splitlines()[:3] == [
        "noise_multiplier  6.58, noise_at server",
        "epsilon           7.993 with delta 1e-05, where all data of one client are replaced",
        "                  3.544 as papers on DP-FedAvg count: one client missing, Poisson sampling",
    ]
    local = ["privacy", "--noise-multiplier", "1.36", "--rounds", "10", "--clients", "100", "--noise-at", "client"]
    assert "29.94" in CliRunner().invoke(app, local).output


@pytest.mark.parametrize("given", [[], ["--epsilon", "8", "--noise-multiplier", "2"]])
def test_the_command_needs_one_of_the_two(given: list[str]) -> None:
    said = CliRunner().invoke(app, ["privacy", "--rounds", "3", "--clients", "9", *given])
    assert said.exit_code == 2
    assert "give one of --epsilon and --noise-multiplier" in str(said.output) + str(said.exception)
