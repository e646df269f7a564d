"""The key ``seeds:`` of a grid file: a sequential run, in place of an axis of seeds."""

from __future__ import annotations

from flipbench.grid import yaml_tree
from flipbench.grid.document import Given, Sheet, place_of
from flipbench.spec import seed_plan
from flipbench.spec.seed_plan import SeedPlan

KEY = "seeds"


def apply(sheet: Sheet) -> SeedPlan | None:
    """Make the axis of seeds that the block asks for, as the last one; None where the grid has a fixed number.

    ``--set seed=...`` stands in place of the block. Mistakes are noted in the sheet.

    Args:
        sheet: with the overrides, not yet checked.
    """
    if (node := sheet.others.pop(KEY, None)) is None:
        return None
    given = [g for values in (sheet.base, *sheet.cases) if (g := values.get("seed"))] + sheet.axes.get("seed", [])
    if any(g.place.override for g in given):
        return None
    if node.kind != "mapping":
        text = f"needs a mapping, like {{least: 4, most: 20, until: decided}}, got {yaml_tree.kind_of(node)}"
        sheet.wrong(place_of(node), KEY, text)
        return None
    if given:
        text = f"seeds are given by seed at {given[0].place.line}:{given[0].place.column}, too; keep one"
        sheet.wrong(place_of(node), KEY, text)
        return None
    places = {str(key.value): place_of(value) for key, value in node.pairs}
    values = {str(key.value): yaml_tree.plain(value) for key, value in node.pairs}
    wrong = seed_plan.problems(values)
    for name, text in wrong.items():
        sheet.wrong(places.get(name, place_of(node)), f"{KEY}: {name}" if name else KEY, text)
    if wrong:
        sheet.broken.add("seed")
        return None
    found = seed_plan.from_mapping(values)
    sheet.axes["seed"] = [Given(seed, place_of(node)) for seed in found.seeds]
    return found
