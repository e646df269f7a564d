"""One federation: who holds what, who is malicious, the rounds, aggregation, evaluation and checkpoints.

Read by whoever changes what happens within a round. `run_stack` turns a stack of cells into one record a cell.
"""
