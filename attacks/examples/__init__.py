"""Example attacks: what the images of a malicious client become, and the labels that they would carry.

``attack(examples, labels, context: ExampleContext, /, *, option=default) -> Stamped`` (`attacks.contract`), a function
of the images alone: test images are stamped alike, to measure how often the attack succeeds.

To add one: the function here, its import and place in ``attacks/__init__.py``, its test in ``tests/attacks``, its line
in ``docs/attacks.md``.
"""
