"""Numerical kernels that the rules share: order statistics, distances, norms, weighted sums.

`order_statistics`, `distances`, `norms`, `selection` and `output_layer` are called by rules; modules named ``*_kernel``
and `sorting_network` are compiled by Numba and loaded on first use. Sums over clients are taken in float64, and
distances from differences. Nothing here imports a rule.

To add a kernel, write the torch form first (it serves CUDA), then the compiled one, and test each against the other.
"""
