"""The operating system: atomic files, signals, child processes, limits of time and memory, devices, versions.

Read by whoever changes how runs start, stop or share a machine. Nothing here knows what a cell is.
"""
