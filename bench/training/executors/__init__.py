"""How a module that is no flat chain of known layers trains for many clients: traced, by vmap, or one row at a time.

Read by whoever wants another kind of network to train, or to train faster. To extend: an executor follows
`layers.stacked_model.Stacked` and stands in the order of `choice`.
"""
