"""Grid files with random changes, a whole paper file, and the check that reading one gives cells or an error."""

from __future__ import annotations

import re

from hypothesis import strategies as st

from flipbench.grid import reader
from flipbench.grid.reader import GridError

GRID = """\
# yaml-language-server: $schema=grid.schema.json
name: fuzzed
title: "A grid: with text"
base: &base
  dataset: mnist
  clients: 10
  batch_size: full
  malicious_fraction: 0.2
axes:
  aggregator: [fedavg, krum, {name: trimmed_mean, trim: 1}]
  attack:
    - mirrored
    - "targeted(source=[6, 1], target=[4, 7])"
    - {name: permuted, mapping: {1: 7, 7: 1}}
  learning_rate: [1e-3, 0.1]
  seed: [0, 1]
cases:
  - {model: softmax}
  - {model: "mlp(widths=[3])", rounds: 2}
figures:
  - {kind: heatmap, metric: accuracy}
"""


SCRAPS = [
    *"[]{}:,-#&*!|>'\"%@`?\t\n\\ ~()",
    "null", "true", "no", "010", "1e9", "-1", ".nan", "0x1", "1e999", "9" * 400, "[]", "{}", "<<: *base", "*base",
    "---\n", "!!int ", "&a ", "*a", "every_pair", "krum | krum", "(", ")", "é", "\x00", "\ufeff", "\u2028", "a.b:c",
    "x.py:y", "../x", "=cmd", "<script>",
]  # fmt: skip


WORDS = re.findall(r"[\w.]+|\S", GRID)


@st.composite
def mutated(draw):
    text = GRID
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.one_of(st.just(start), st.integers(start, min(len(text), start + 12))))
        scrap = draw(st.one_of(st.sampled_from(SCRAPS), st.sampled_from(WORDS), st.just(""), st.text(max_size=4)))
        text = text[:start] + scrap + text[end:]
    return text


@st.composite
def with_a_word_changed(draw):
    """Keeps the YAML whole more often, so that the checks behind the parser are reached."""
    spots = [m.span() for m in re.finditer(r"[\w.]+", GRID)]
    start, end = draw(st.sampled_from(spots))
    return GRID[:start] + draw(st.sampled_from(SCRAPS + WORDS)) + GRID[end:]


def mistakes(path):
    """What reading the grid complains of; a grid without complaint has cells."""
    try:
        assert reader.read(path).cells
    except GridError as error:
        return error.errors or ("an error that says nothing",)
    return ()


def survives(path, data):
    path.write_bytes(data)
    for line in mistakes(path):
        assert re.match(re.escape(str(path)) + r":[1-9]\d*:[1-9]\d*: \S", line), line


PAPER = """\
name: good
title: Some table
paper: Somebody 2020
source: page 7
base: {dataset: digits, model: softmax, clients: 8, rounds: 20, malicious_count: 2, evaluate_every: 10}
axes:
  aggregator: [fedavg, krum]
  attack: [none, mirrored]
  seed: [0, 1]
tables:
  - name: t
    metric: accuracy
    unit: percent
    runs: 5
    tolerance: {within: 1.5}
    rows:
      fedavg: {label: FedAvg, at: {aggregator: fedavg}}
      krum: {at: {aggregator: krum}}
    columns:
      clean: {at: {attack: none}}
      flip: {at: {attack: mirrored}, tolerance: {deviations: 2}}
    values:
      fedavg: [90.25, [80, 2]]
      krum: [null, {value: 70, sd: 3, tolerance: none}]
    claims:
      - {says: the flip harms, holds: fedavg@clean > fedavg@flip}
"""
