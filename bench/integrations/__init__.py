"""flipbench inside other suites: `flower`, a strategy for Flower whose server aggregates by one of our rules.

The way back, rules of ByzFL and Flower in our grids, is `plugins.other_suites`. The other suite is imported when its
module here is, never before.

Read by users of other suites. To extend: one module for each suite.
"""
