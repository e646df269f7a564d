"""Near misses for error messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# What papers and other programs call them: letters and digits alone, small.
OTHER_NAMES = {
    "average": "mean",
    "cclip": "centered_clipping",
    "cm": "median",
    "comed": "median",
    "coordinatewisemedian": "median",
    "cwtm": "trimmed_mean",
    "dlf": "least_likely",
    "dynamiclabelflip": "least_likely",
    "flip": "mirrored",
    "gm": "geometric_median",
    "labelflip": "mirrored",
    "labelflipping": "mirrored",
    "lf": "mirrored",
    "lie": "alie",
    "normbounding": "norm_clipping",
    "pairflip": "swapped",
    "randomflip": "uniform",
    "rfa": "geometric_median",
    "sf": "sign_flip",
    "staticlabelflip": "mirrored",
    "trmean": "trimmed_mean",
}


def near(word: str, known: Iterable[str]) -> str:
    """`` - did you mean 'krum'?`` where something is near enough or called so elsewhere, else nothing."""
    names = list(known)
    elsewhere = OTHER_NAMES.get("".join(c for c in word.lower() if c.isalnum()))
    close = [elsewhere] if elsewhere in names else get_close_matches(word[:100], names, n=1, cutoff=0.6)
    return f" - did you mean {close[0]!r}?" if close else ""
