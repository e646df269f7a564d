"""One federation: data of the clients, malicious clients, rounds, aggregation, evaluation and checkpoints.

Read by whoever changes what happens within a round. `run_stack` turns a stack of cells into one record a cell.
"""
