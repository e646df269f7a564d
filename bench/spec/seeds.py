"""Named seeds: each purpose of a replicate (partition, flips, initial weights, batches) has a seed of its own."""

from __future__ import annotations

import hashlib


def named_seed(seed: int, purpose: str, *which: int) -> int:
    """A 63-bit seed for one purpose of one replicate (and one client, one pass and so on).

    Neither the rule nor the attack enters, so that every rule meets the same clients, flips and batches.
    """
    digest = hashlib.sha256("\x1f".join([str(seed), purpose, *map(str, which)]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
