"""Networks of the literature beside the small ones of `training.models`: each with its source and its parameters.

Read by whoever wants to know what a name like ``resnet`` stands for. To extend: a function here and in `models.MODELS`.
"""
