"""Which (ε, δ) of client-level differential privacy a federation with noise has, and which noise an ε needs.

Read by the tables and by the command ``flipbench privacy``; docs/privacy.md has the formulas. To extend: a rule whose
answer one client can move only so far is a line in `sensitivity`; what no ε can be stated for is in `guarantee`.
"""
