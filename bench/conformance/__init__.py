"""The conformance kit: what every aggregation rule and every attack must satisfy, as checks that every author can run.

`aggregators` and `attacks` list the checks of a rule and of an attack (``flipbench check``); `oracles` has the
published rules once more, as plain float64 loops; `kappa` bounds from below how far malicious clients move a rule.

To add a property of rules, write its check in `invariances`, `robustness`, `side_effects` or `told_clients` and its
entry in `properties`; of attacks, both in `label_attacks`, `example_attacks`, `update_attacks` or
`attacked_federations`.
"""
