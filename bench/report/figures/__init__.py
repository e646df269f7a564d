"""Figures of results: each takes a frame and returns a matplotlib figure.

Read by whoever changes a figure. To extend: a new kind of figure is a module here and a line in `catalogue`.
"""
