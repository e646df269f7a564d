"""How many seeds: the power of a comparison, group-sequential boundaries, and the race of a sequential run."""
