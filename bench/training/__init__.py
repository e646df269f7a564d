"""Local training of all clients in lockstep: models, losses, schedules, initial weights, augmentation, local SGD.

Read by whoever adds a model or makes training faster. To extend: a model is a function in `models`, a schedule one in
`schedules`, a loss one in `losses`.
"""
