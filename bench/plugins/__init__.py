"""Plug-ins: names in a grid become callables, shipped, installed, from files or passed in Python.

Read by whoever adds a kind of thing that a grid can name. To extend: a `Kind` in `kinds.KINDS`.
"""
