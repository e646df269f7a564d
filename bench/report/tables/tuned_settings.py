"""What a table of tuned cells says of the settings that were chosen for its rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from flipbench.analysis.pages import Page
from flipbench.analysis.settings.forms import Chosen
from flipbench.report.tables.model import Block
from flipbench.spec.labels import aggregator_label, field_label, labelled, value_label

LETTER = "tuned"  # of the footnote


def with_choices(page: Page, blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks with what was chosen among their footnotes, where the page is one of tuned cells."""
    text = None if page.chosen is None else values(page.chosen)
    for block in blocks:
        yield block if text is None else replace(block, notes=(*block.notes, (LETTER, text)))


def sentence(page: Page) -> str:
    """How the settings of a page were chosen, and what they are, with a space in front; of the other form what the grid
    gives to every rule; nothing on other pages."""
    if page.chosen is not None:
        return of_choices(page.chosen)
    own = {f: page.constant[f] for f in page.fixed if f in page.constant}
    return f" Fixed for every rule: {', '.join(labelled(own, own.values()))}." if own else ""


def of_choices(chosen: Chosen) -> str:
    """How settings were chosen, and what they are, with a space in front."""
    metric = chosen.metric.replace("_", " ")
    of = f"the least mean {metric} over the attacks" if chosen.criterion == "maximin" else f"mean {metric}"
    return (
        f" Settings were chosen for each rule by {of}, on validation examples and seeds of their own "
        f"({listed(map(str, chosen.seeds))}), {chosen.candidates} candidates each: {values(chosen)}."
    )


def values(chosen: Chosen) -> str:
    """``learning rate 0.3 with fedavg and krum, 1 with median``; where a rule has several, each with its setting."""
    parts = []
    for name in chosen.fields:
        of: dict[str, list[str]] = {}
        for choice in chosen.choices:
            given = choice["values"]
            if given is None:
                of.setdefault("nothing", []).append(_rule(choice))
            elif name in given:
                of.setdefault(value_of(name, given[name]), []).append(_rule(choice))
        if of:
            parts.append(f"{name_of(name)} {', '.join(f'{v} with {listed(rules)}' for v, rules in of.items())}")
    return "; ".join(parts)


def _rule(choice: Mapping[str, Any]) -> str:
    setting = labelled(choice["setting"], choice["setting"].values())
    return aggregator_label(choice["aggregator"]) + (f" ({', '.join(setting)})" if setting else "")


def name_of(name: str) -> str:
    """A field, or an option of one, in words."""
    base, dot, option = name.partition(".")
    return f"option {option} of the {field_label(base)}" if dot else field_label(base)


def value_of(name: str, value: Any) -> str:
    """A value of a field or of an option, in words."""
    base, dot, _ = name.partition(".")
    return str(value) if dot else value_label(base, value)


def listed(texts: Iterable[str]) -> str:
    """``a, b and c``."""
    every = list(texts)
    return every[0] if len(every) == 1 else f"{', '.join(every[:-1])} and {every[-1]}"
