"""From stored records to numbers: metrics, the pivot that every table and figure reads, statistics and tests.

Read by whoever changes what a number means. To extend: a metric is a function in `metrics`, its name stands in
`flipbench.spec.metric_names`.
"""
