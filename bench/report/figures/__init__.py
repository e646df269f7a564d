"""Figures of results: each takes a frame and returns a matplotlib figure.

Read by whoever changes a figure. To extend: a new kind of figure is a module here and a line in `catalogue`. What all
``draw`` functions take alike: ``page``, whose cells are drawn; ``metric``, what is shown; ``norm``, the colour scale,
shared by all figures of the metric; ``attack``, its reference; ``place``, values of settings and levels, for the title.
"""
