"""SignGuard: an honest update has an ordinary length and an ordinary share of positive and negative coordinates.

    length  lower <= ||x_i|| / S <= upper, S the median norm
    signs   on a random share of the coordinates: how many are positive, zero, negative (each over the most that any
            client has); mean shift groups the clients by these three numbers; the largest group
    answer  the mean of the clients that pass both, clipped to norm S; where none does, of those that pass the second

Mean shift has a flat window as wide as the mean distance to the n/2-th nearest client (itself included), starts from
every client, and joins ends within one width; a client farther than that from the end it belongs to is in no group.

Needs: 2f < n (median, largest group). Cost: a few passes over the updates.
Source: Xu, Huang, Song, Lan, "Byzantine-robust federated learning through collaborative malicious gradient filtering",
ICDCS 2022 (plain SignGuard; lower = 0.1, upper = 3, share = 0.1 as there).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Update, Updates
from flipbench.aggregators.numerics.norms import lengths
from flipbench.aggregators.numerics.order_statistics import weighted_sum
from flipbench.aggregators.numerics.selection import Numbers
from flipbench.aggregators.rng import generators
from flipbench.aggregators.rules.clipping import clip_factors
from flipbench.aggregators.validation import guarded, needs_majority, positive

_SHIFTS = 300  # of a window; it stands still long before


@guarded
def signguard(
    updates: Updates, cohort: Cohort, /, *, lower: float = 0.1, upper: float = 3.0, share: float = 0.1
) -> Update:
    """The clipped mean of clients of ordinary length and ordinary signs (Xu et al. 2022).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f for the check, and seeds and round for the draw of coordinates.
        lower: least norm, in units of the median norm.
        upper: largest norm, in the same.
        share: of the coordinates whose signs are counted, drawn anew each round; at least one coordinate is.

    Raises:
        Infeasible: unless 2f < n.
    """
    n, _ = needs_majority("signguard", updates, cohort)
    low, high, part = positive("lower", lower, 1), positive("upper", upper), positive("share", share, 1)
    if high < 1:
        raise ValueError(f"upper is in units of the median norm and must be at least 1, got {upper}")
    cells, dim = updates.shape[:-2], updates.shape[-1]
    norms = lengths(updates)
    middle = norms.quantile(0.5, dim=-1, keepdim=True)
    ordinary = ((norms >= low * middle) & (norms <= high * middle)).reshape(-1, n).cpu()
    chosen = []
    draws = generators(cohort, tuple(cells), "signguard")
    for cell, passed, draw in zip(updates.reshape(-1, n, dim), ordinary, draws, strict=True):
        group = torch.from_numpy(_largest_group(_signs(cell, max(1, round(part * dim)), draw)))
        chosen.append(group & passed if bool((group & passed).any()) else group)
    kept = torch.stack(chosen).reshape(norms.shape).to(norms.device)
    cohort.tell_kept(kept)
    factors = clip_factors(norms, None) * kept
    return weighted_sum(updates, factors / kept.sum(-1, keepdim=True))


def _signs(cell: Updates, width: int, draw: torch.Generator) -> Numbers:
    """Counts of positive, zero and negative coordinates over the largest such count, ``(clients, 3)``."""
    dim = cell.shape[1]
    columns: Tensor = cell if width == dim else cell[:, torch.randperm(dim, generator=draw)[:width].to(cell.device)]
    up, down = (columns > 0).sum(1), (columns < 0).sum(1)
    counts = torch.stack([up, width - up - down, down], dim=1).double().cpu().numpy()
    return np.asarray(counts / np.maximum(counts.max(0), 1.0), dtype=np.float64)


def _largest_group(points: Numbers) -> NDArray[np.bool_]:
    """Mean shift: which clients are in the largest group; of equally large ones that of the fuller window."""
    n = len(points)
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    width = float(np.sort(apart, axis=1)[:, max(n // 2, 1) - 1].mean()) + 1e-12
    ends, full = [], []
    for start in points:
        centre = start
        for _ in range(_SHIFTS):
            inside = np.linalg.norm(points - centre, axis=1) <= width
            new = points[inside].mean(0)
            moved = float(np.linalg.norm(new - centre))
            centre = new
            if moved <= 1e-3 * width:
                break
        ends.append(centre)
        full.append(int((np.linalg.norm(points - centre, axis=1) <= width).sum()))
    modes: list[Numbers] = []
    for i in np.argsort(-np.array(full), kind="stable"):
        if all(np.linalg.norm(ends[i] - m) > width for m in modes):
            modes.append(ends[i])
    to_mode = np.linalg.norm(points[:, None] - np.array(modes)[None], axis=-1)  # (clients, modes)
    label = np.where(to_mode.min(1) <= width, to_mode.argmin(1), -1)
    sizes = np.bincount(label[label >= 0], minlength=len(modes))
    return np.asarray(label == sizes.argmax())
