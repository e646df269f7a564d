"""What an experiment is: a cell with its fields, its key and its seeds, and the references that a grid writes.

Read by all. To extend: a field of a cell is added to `cell.Cell`, and nowhere else in this package.
"""
