"""From a YAML file to cells: reads a grid with all its mistakes at once, and expands its axes.

Read by whoever changes what a grid file may say. To extend: the values of a new field are checked in `fields`.
"""
