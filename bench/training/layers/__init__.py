"""Layers for a stack of clients that each have weights of their own, with their backward passes.

Read by whoever makes a layer faster. To extend: a new layer follows `protocol` and is named in `stacked_model`.
"""
