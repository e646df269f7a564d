"""Update attacks by a simple formula: what is sent in place of what the malicious clients have trained.

    sign_flip   -scale x            x: the malicious client's own update
    gaussian    deviation N(0, 1), or a Gaussian fitted to the malicious clients' own updates
    scaled      factor x
    ipm         -epsilon mean(honest)
    free_rider  the last update of the server, with noise

``updates`` is ``(malicious, dim)``, what the malicious clients would have sent (after any label flip or backdoor they
carry); `attacks.contract.UpdateContext` is what they know. Inputs are never changed, and draws come from
``context.generator``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flipbench.attacks.contract import UpdateContext
from flipbench.attacks.updates.honest_statistics import all_alike, finite, mean, positive
from flipbench.attacks.updates.honest_statistics import deviation as spread


def sign_flip(updates: Tensor, context: UpdateContext, /, *, scale: float = 1.0) -> Tensor:
    """Each sends the opposite of its own update: -scale x_i (Li et al. 2019, RSA, experiments; scale 4 there).

    Args:
        updates: ``(malicious, dim)``.
        context: not used.
        scale: how far, above 0.

    Raises:
        ValueError: ``scale`` is not above 0.
    """
    positive("sign_flip", scale=scale)
    return updates * -scale


def gaussian(updates: Tensor, context: UpdateContext, /, *, deviation: float | None = 200.0) -> Tensor:
    """Noise in place of an update: N(0, deviation²) in each coordinate (Blanchard et al. 2017, experiments).

    Without a deviation each coordinate is drawn from the Gaussian with mean and variance of what the malicious clients
    would have sent (Fang et al. 2020, the Gaussian attack of the experiments).

    Args:
        updates: ``(malicious, dim)``.
        context: gives the generator.
        deviation: in the unit of the updates (weights); the paper's gradients had 200. null: fitted, with the variance
            that divides by m; a single malicious client then sends its own update.

    Raises:
        ValueError: ``deviation`` is not above 0.
    """
    if deviation is None:
        centre = mean(updates)
        return (centre + spread(updates, centre) * _noise(updates, context)).to(updates.dtype)
    positive("gaussian", deviation=deviation)
    return _noise(updates, context) * deviation


def scaled(updates: Tensor, context: UpdateContext, /, *, factor: float | None = None) -> Tensor:
    """Model replacement: each multiplies what it trained, factor x_i (Bagdasaryan et al. 2020, model replacement).

    With the default the mean of all n clients holds the mean of the m malicious ones whole, as if they were alone.
    Makes a label flip or a backdoor in front of it count more: ``targeted(source=6, target=4) | scaled``.

    Args:
        updates: ``(malicious, dim)``.
        context: gives the number of clients.
        factor: above 0; null: n/m.

    Raises:
        ValueError: ``factor`` is not above 0.
    """
    if factor is None:
        factor = (len(context.honest) + len(updates)) / max(1, len(updates))
    positive("scaled", factor=factor)
    return updates * factor


def ipm(updates: Tensor, context: UpdateContext, /, *, epsilon: float = 0.5) -> Tensor:
    """Inner product manipulation: all send -epsilon times the honest mean (Xie et al. 2020, Fall of Empires).

    Under plain averaging the step keeps its direction while epsilon < (n - m)/m and turns round beyond.

    Args:
        updates: ``(malicious, dim)``; only its shape counts.
        context: gives the honest updates.
        epsilon: above 0.

    Raises:
        ValueError: ``epsilon`` is not above 0.
    """
    positive("ipm", epsilon=epsilon)
    return all_alike(mean(finite(context.honest)) * -epsilon, updates)


def free_rider(updates: Tensor, context: UpdateContext, /, *, noise: float = 0.0) -> Tensor:
    """Sends the last update of the server back, without training (Lin et al. 2019, delta weights attack).

    Noise hides that free riders send the same (Fraboni et al. 2021, disguised free riding). Before the server has
    applied anything all send zeros.

    Args:
        updates: ``(malicious, dim)``; only its shape counts.
        context: gives the last update and the generator.
        noise: standard deviation of independent noise, as a share of the last update's root mean square.

    Raises:
        ValueError: ``noise`` is below 0 or not finite.
    """
    if noise == 0:
        return all_alike(context.previous, updates)
    positive("free_rider", noise=noise)
    size = context.previous.double().square().mean().sqrt()
    return (context.previous + _noise(updates, context) * (size * noise)).to(updates.dtype)


def _noise(updates: Tensor, context: UpdateContext) -> Tensor:
    """Standard normal numbers, ``(malicious, dim)``; drawn on the CPU, so that every device sees the same."""
    return torch.randn(updates.shape, generator=context.generator, dtype=updates.dtype).to(updates.device)
