"""The aggregation rules, one idea a module.

A rule is a plain function ``rule(updates, cohort, /, *, option=default) -> update`` (`aggregators.contract`); one with
memory is a frozen dataclass with ``init`` and ``__call__``. `preaggregation` holds what can stand in front of a rule.
The docstring of a module has the formula, the needs, the cost and the source. ``@guarded`` (`aggregators.validation`)
checks the cohort and leaves out updates that are not finite; sorting, distances and norms come from
`aggregators.numerics`.

To add a rule, four files change:

1. a module here;
2. ``aggregators/__init__.py``: its import, its place in the list of rules, ``__all__``;
3. a module of ``bench/conformance/oracles/``: the rule once more, as a plain float64 loop under ``@definition``, which
   says how many clients it needs and what it is excused from. Tests and `flipbench check` read it there;
4. ``docs/aggregators.md``: its line in a table, and the choices that its paper leaves open.
"""
