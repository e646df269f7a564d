"""The public Python API: what `import flipbench as fb` offers, built from the other packages.

Read by whoever changes what a notebook can do. To extend: a function here, its name in ``bench/__init__.py``, an
example in docs/python.md.
"""
