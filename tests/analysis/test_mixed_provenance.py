"""A table whose cells were made by different code, libraries or processors says so, with counts."""

from __future__ import annotations

import pandas as pd
import pytest

from flipbench.analysis.mixed_provenance import sentences

SAME = {"engine": "1 (aa)", "python": "3.11.7", "torch": "2.6.0", "numpy": "2.1.0", "numba": "0.61.0"}
SAME |= {"device": "cpu", "processor": "One", "threads": 1, "commit": "abc", "flipbench": "0.1.0"}


def said(*others: dict[str, object]) -> list[str]:
    rows = [SAME, SAME, *({**SAME, **other} for other in others)]
    frame = pd.DataFrame([{f"provenance_{name}": value for name, value in row.items()} for row in rows])
    frame["key"] = list("abcdefgh")[: len(rows)]
    found = list(sentences(frame))
    assert all(set(keys) <= set("cdefgh") for _, keys in found)
    return [text for text, _ in found]


def test_equal_provenance_says_nothing() -> None:
    assert said({"commit": "other", "flipbench": "0.2.0"}) == []


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({"engine": "1 (bb)"}, "cells of different code stand together: 2 by 1 (aa), 1 by 1 (bb)"),
        ({"engine": "edited bb"}, "cells of different code stand together: 2 by 1 (aa), 1 by edited bb"),
        ({"engine": None, "commit": "old"}, "cells of different code stand together: 2 by 1 (aa), 1 by commit old"),
        ({"torch": "2.7.0"}, "cells of different torch versions stand together: 2 by torch 2.6.0, 1 by torch 2.7.0"),
        ({"numba": "0.60"}, "cells of different numba versions stand together: 2 by numba 0.61.0, 1 by numba 0.60"),
        ({"processor": "Two"}, "cells of different processors stand together: 2 by One, 1 by Two"),
    ],
)
def test_what_differs_is_said_with_counts(other: dict[str, object], text: str) -> None:
    assert said(other) == [text]


def test_what_older_records_lack_differs_from_nothing_but_their_code() -> None:
    assert said({"numba": None, "processor": None}) == []
    assert said({"engine": None, "commit": None}) == [
        "cells of different code stand together: 2 by 1 (aa), 1 by flipbench 0.1.0"
    ]
    assert said({"numpy": None}, {"numpy": "1.26"}) == [
        "cells of different numpy versions stand together: 2 by numpy 2.1.0, 1 by not recorded, 1 by numpy 1.26"
    ]
