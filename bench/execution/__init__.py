"""Where cells run: in this process, in worker processes of this machine, or on a Dask cluster.

Read by whoever operates long runs. `runner` decides which cells run together, and only it writes to the store.
"""
