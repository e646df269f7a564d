"""Label attacks: which label each example of a malicious client would carry, and which examples may be flipped.

``attack(labels, context: LabelContext, /, *, option=default) -> Proposal`` (`attacks.contract`). `label_flip` holds the
flips that read labels alone, `model_based` those that ask a model, `searched` the search for the worst flip.

To add one: the function here, its import and place in ``attacks/__init__.py``, its test in ``tests/attacks``, its line
in ``docs/attacks.md``.
"""
