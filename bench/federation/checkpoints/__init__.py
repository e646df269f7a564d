"""Checkpoints of long cells: states of federations and trials of searched attacks, as files that are safe to read."""
