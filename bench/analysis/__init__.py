"""From stored records to numbers: metrics, the pivot that every table and figure reads, statistics and tests.

Read by whoever changes what a number means. To extend: a metric is a line in
`flipbench.spec.metric_names` and a function of the same name in `metrics`.
"""
