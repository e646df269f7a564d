"""Which numbers the source of flipbench gives: versions of rules, attacks and the engine, and what was edited since.

Read by whoever changes numbers. To extend: ``make versions`` writes `code_versions.json`, never a person.
"""
