"""my_update_attack: all malicious clients send the honest mean, turned round."""

import torch

from flipbench.attacks import UpdateContext


def my_update_attack(updates: torch.Tensor, context: UpdateContext, /, *, strength: float = 1.0) -> torch.Tensor:
    """-strength times the mean of the honest updates, from every malicious client."""
    if strength <= 0:  # a user's mistake
        raise ValueError(f"my_update_attack needs a strength above 0, got {strength}")
    # updates: (malicious, dim), what these clients would send; context.honest: (honest, dim), what the others do send.
    mean = context.honest.mean(0, dtype=torch.float64)  # (dim,); never change what the context holds
    bad = (-strength * mean).to(updates.dtype)
    # An attack that draws at random passes generator=context.generator. One that asks context.aggregate, the rule
    # that it faces, must say so: my_update_attack.adaptive = True; tables mark it then.
    return bad.expand_as(updates).clone()  # (malicious, dim): a row for each of them
