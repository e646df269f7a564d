"""Protocols of the literature that no shipped file has, given as YAML alone by somebody who did not write the code."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flipbench.cli.app import app
from flipbench.papers import reader
from flipbench.papers.model import Paper

# Sampled clients: malicious ones are a share of the population, so a round can have more of them than the rule is told.
SAMPLED = """\
name: sampled
title: 100 clients, 10 a round, f under-declared
paper: A reader, after Shejwalkar et al. 2022
source: made up numbers
base:
  dataset: digits
  partition: dirichlet(alpha=1)
  clients: 100
  clients_per_round: 10
  malicious_fraction: 0.2
  declared_byzantine: 1
  model: softmax
  rounds: 20
  local_epochs: 2
  batch_size: 8
  learning_rate: 0.3
axes:
  aggregator: [fedavg, trimmed_mean, multi_krum]
  attack: [none, mirrored]
  seed: [0, 1]
tables:
  - name: table-1
    title: median of the last tenth of the rounds
    metric: accuracy
    rounds: median(share=0.1)
    unit: percent
    tolerance: {within: 20}
    rows:
      fedavg: {at: {aggregator: fedavg}}
      trimmed_mean: {at: {aggregator: trimmed_mean}}
      multi_krum: {at: {aggregator: multi_krum}}
    columns: {clean: {at: {attack: none}}, flip: {at: {attack: mirrored}}}
    values:
      fedavg: [85, 75]
      trimmed_mean: [85, 75]
      multi_krum: [85, 75]
"""

# 25 clients, of which 5 malicious ones come on top of 20 whose data are sorted by label.
BUCKETING = """\
name: bucketing
title: 25 clients sorted by label, bucketing and worker momentum
paper: A reader, after Karimireddy, He, Jaggi 2022
source: made up numbers
base:
  dataset: digits
  partition: similarity(gamma=0)
  clients: 20
  malicious_count: 5
  malicious_data: fresh(examples=50)
  attack: mirrored
  model: mlp(widths=[30])
  rounds: 60
  local_steps: 1
  batch_size: 16
  learning_rate: 0.3
  client_momentum: 0.9
  evaluate_every: 60
  evaluate_last: 5
axes:
  aggregator: [krum, bucketing(s=2) | krum, centered_clipping(radius=1), bucketing(s=2) | centered_clipping(radius=1)]
  seed: [0, 1]
tables:
  - name: table-3
    title: bucketing helps
    metric: accuracy
    rounds: mean(rounds=5)
    unit: percent
    tolerance: none
    rows:
      krum: {}
      clipping: {label: centred clipping}
    columns:
      plain: {}
      bucketing: {}
    values:
      krum: [{value: 40.0, at: {aggregator: krum}}, {value: 60.0, at: {aggregator: "bucketing(s=2) | krum"}}]
      clipping:
        - {value: 60.0, at: {aggregator: centered_clipping(radius=1)}}
        - {value: 70.0, at: {aggregator: "bucketing(s=2) | centered_clipping(radius=1)"}}
    claims:
      - {says: bucketing helps Krum, holds: krum@bucketing > krum@plain}
"""

ROOT = """\
name: trusted
title: a server with 100 examples of its own
paper: A reader, after Cao et al. 2021
source: made up numbers
base:
  dataset: digits
  partition: label_bias(q=0.5)
  clients: 30
  malicious_fraction: 0.4
  attack: shifted
  root_examples: 100
  model: softmax
  rounds: 40
  local_steps: 1
  learning_rate: 0.5
axes:
  aggregator: [fedavg, fltrust]
  seed: [0, 1]
tables:
  - name: table-1
    title: test error under attack
    metric: error
    unit: fraction
    decimals: 2
    runs: 3
    rows:
      fedavg: {at: {aggregator: fedavg}, tolerance: {at_least: 0.1}}
      fltrust: {at: {aggregator: fltrust}, tolerance: {deviations: 2}}
    columns: {flip: {}}
    values: {fedavg: [0.5], fltrust: [[0.1, 0.2]]}
    claims:
      - {says: trust helps, holds: fltrust@flip < fedavg@flip}
"""


@pytest.fixture
def ran(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Paper, str]:
    """The file run by the command line, and what it printed."""
    path = tmp_path / "reader.yaml"
    path.write_text(request.param, "utf-8")
    args = ["paper", path, "--results", tmp_path / "results", "--workers", "1", "--no-progress"]
    call = CliRunner().invoke(app, [str(a) for a in args])
    assert call.exit_code == 0, call.output
    assert "wrote" in call.output
    return reader.read(path), call.output


@pytest.mark.parametrize("ran", [SAMPLED], indirect=True)
def test_sampled_clients_and_an_under_declared_f(ran: tuple[Paper, str]) -> None:
    paper, output = ran
    cells = [c for c in paper.cells if c.attacked]
    assert {(c.malicious, c.per_round, c.byzantine) for c in cells} == {(20, 10, 1)}  # two a round are expected
    assert "median of the last 10 % of rounds" in str(paper.tables[0].numbers[0].window)
    assert output.count("reproduced") + output.count("missed") >= 6


@pytest.mark.parametrize("ran", [BUCKETING], indirect=True)
def test_sorted_clients_with_bucketing_and_momentum(ran: tuple[Paper, str]) -> None:
    paper, output = ran
    assert {c.clients + c.malicious for c in paper.cells} == {25}
    assert {(c.client_momentum, c.malicious_data) for c in paper.cells} == {(0.9, "fresh(examples=50)")}
    assert "could not be run" not in output
    assert "bucketing helps Krum: " in output


@pytest.mark.parametrize("ran", [ROOT], indirect=True)
def test_a_trusted_root_data_set(ran: tuple[Paper, str]) -> None:
    paper, output = ran
    assert {(c.root_examples, c.malicious) for c in paper.cells} == {(100, 12)}
    assert "at least 0.100" in output
    assert "trust helps: holds" in output
