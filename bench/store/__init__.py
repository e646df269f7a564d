"""Results on disk: one checked JSON file a cell, published atomically; the first result of a cell stays.

Read by whoever changes how results are kept. The format of a record is a promise: old stores stay readable.
"""
