"""Numbers of a cell beside its metrics: who was caught, and how well each client is served.

Read by whoever changes what such a number means. To extend: a module that gives columns of the tidy frame, its line in
`analysis.metrics.evaluate`, and, for a share that figures may show, a line in `flipbench.spec.metric_names.CELL_SHEET`.
"""
