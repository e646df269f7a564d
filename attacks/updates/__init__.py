"""Update attacks: what the malicious clients of a round send in place of what they trained.

``attack(updates, context: UpdateContext, /, *, option=default) -> updates`` (`attacks.contract`); one with memory is a
frozen dataclass with ``init`` and ``__call__``. `honest_statistics` holds what several of them need: means, deviations,
rows that are finite.

To add one: the function here, its import and place in ``attacks/__init__.py``, the same once more as a plain loop in
``tests/oracles/attack_oracles.py``, its line in ``docs/attacks.md``.
"""
