"""Tables as text cells, and their forms: Markdown, LaTeX, CSV and lines for a terminal.

Read by whoever changes a table. To extend: a table makes a `model.Table`, and every form follows.
"""
