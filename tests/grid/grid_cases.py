"""A grid without a mistake, for the tests that read or override one."""

GOOD = """\
name: good
base: {dataset: mnist, clients: 10}
axes:
  aggregator: [fedavg, krum]
  malicious_fraction: [0.1, 0.2]
  attack: [mirrored, "targeted(source=6, target=4)"]
  seed: [0, 1]
"""
