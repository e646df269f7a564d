"""From numbers to what people read: tables, figures and the report page; `write` makes the files of a folder.

Read by whoever changes how results look. Nothing here computes a statistic.
"""
