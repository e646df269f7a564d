"""Values of a paper file with their places: each reader notes what is wrong and gives None then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from flipbench.errors import UserError
from flipbench.grid.document import NAME, Sheet, place_of
from flipbench.grid.yaml_tree import Node, kind_of
from flipbench.papers.model import METRICS, Metric, Tolerance, Window
from flipbench.spec.reference import Reference, parse
from flipbench.spec.suggestions import near

T = TypeVar("T")

_TOLERANCES = ("within", "of", "deviations", "at_least", "at_most")
_WINDOWS = "last, mean(rounds=10), median(rounds=10), mean(share=0.1), median(share=0.1), at(round=100), max or min"


def mapping(sheet: Sheet, node: Node, where: str, keys: Sequence[str], needed: Sequence[str] = ()) -> dict[str, Node]:
    """The nodes of a mapping by key; unknown and missing keys are noted."""
    if node.kind != "mapping":
        sheet.wrong(place_of(node), where, f"needs a mapping with {', '.join(needed or keys)}, got {kind_of(node)}")
        return {}
    nodes: dict[str, Node] = {}
    for key, value in node.pairs:
        if key.value in keys:
            nodes[str(key.value)] = value
        else:
            hint = near(str(key.value), keys)
            sheet.wrong(place_of(key), where, f"unknown key {key.value!r}{hint}; {where} has {', '.join(keys)}")
    if missing := [k for k in needed if k not in nodes]:
        sheet.wrong(place_of(node), where, f"needs {', '.join(missing)}")
    return nodes


def named(sheet: Sheet, node: Node | None, where: str) -> list[tuple[str, Node]]:
    """The (name, node) pairs of a mapping of names to things; names are lower-case words."""
    if node is None:
        return []
    if node.kind != "mapping" or not node.pairs:
        sheet.wrong(place_of(node), where, f"needs a mapping of names, like krum: {{...}}; got {kind_of(node)}")
        return []
    pairs = []
    for key, value in node.pairs:
        if isinstance(key.value, str) and NAME.fullmatch(key.value) and "@" not in key.value:
            pairs.append((key.value, value))
        else:
            rule = "lower-case letters, digits, '.', '_', '-', the first a letter or digit"
            sheet.wrong(place_of(key), where, f"a name needs {rule}; got {key.value!r} (numbers need quotes)")
    return pairs


def listed(sheet: Sheet, node: Node | None, where: str) -> list[Node]:
    """The nodes of a list; none where there is no list."""
    if node is None:
        return []
    if node.kind != "list":
        sheet.wrong(place_of(node), where, f"needs a list, got {kind_of(node)}")
    return node.items


def text(sheet: Sheet, node: Node | None, where: str) -> str:
    """Text, in one line, or a number as text; empty where there is none."""
    if node is None:
        return ""
    if isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return f"{node.value:g}" if isinstance(node.value, float) else str(node.value)
    if not isinstance(node.value, str):
        sheet.wrong(place_of(node), where, f"needs text, got {kind_of(node)}; put it in quotes")
        return ""
    return " ".join(node.value.split())


def number(sheet: Sheet, node: Node | None, where: str) -> float | None:
    """A finite number."""
    if node is None or node.value is None:
        return None
    if isinstance(node.value, bool) or not isinstance(node.value, int | float) or abs(node.value) == float("inf"):
        sheet.wrong(place_of(node), where, f"needs a number, got {kind_of(node)}")
        return None
    return float(node.value)


def whole(sheet: Sheet, node: Node | None, where: str, least: int) -> int | None:
    """A whole number from ``least`` on."""
    if node is None or node.value is None:
        return None
    if isinstance(node.value, bool) or not isinstance(node.value, int) or node.value < least:
        sheet.wrong(place_of(node), where, f"needs a whole number of {least} or more, got {kind_of(node)}")
        return None
    return node.value


def one_of(sheet: Sheet, node: Node | None, where: str, known: Sequence[str]) -> str:
    """One of some words; the first where there is none."""
    if node is None or node.value in known:
        return known[0] if node is None else str(node.value)
    sheet.wrong(place_of(node), where, f"{node.value!r} is none of {', '.join(known)}{near(str(node.value), known)}")
    return known[0]


def flag(sheet: Sheet, node: Node | None, where: str) -> bool:
    """true or false; false where there is none."""
    if node is None:
        return False
    if not isinstance(node.value, bool):
        sheet.wrong(place_of(node), where, f"needs true or false, got {kind_of(node)}")
    return node.value is True


def metric(sheet: Sheet, node: Node | None) -> Metric | None:
    """A name of `METRICS` with its classes."""
    return _read(sheet, node, "metric", _metric)


def window(sheet: Sheet, node: Node | None) -> Window | None:
    """The rounds that a number is over."""
    return _read(sheet, node, "rounds", _window)


def tolerance(sheet: Sheet, node: Node | None) -> Tolerance | None:
    """``none``, or one of within, deviations, at_least, at_most; ``of`` is another centre for within."""
    if node is None:
        return None
    if node.value == "none":
        return Tolerance("none")
    nodes = mapping(sheet, node, "tolerance", _TOLERANCES)
    given = {k: v for k, n in nodes.items() if (v := number(sheet, n, f"tolerance: {k}")) is not None}
    kinds = [k for k in given if k != "of"]
    if len(kinds) != 1 or ("of" in given and kinds != ["within"]):
        text = "needs one of within (with of, for another centre), deviations, at_least, at_most, or the word none"
        sheet.wrong(place_of(node), "tolerance", text)
        return None
    (kind,) = kinds
    if kind in ("within", "deviations") and given[kind] < 0:
        sheet.wrong(place_of(node), "tolerance", f"{kind} must not be below 0, got {given[kind]:g}")
        return None
    return Tolerance(kind, given[kind], given.get("of"))  # type: ignore[arg-type] # one of the names above


def _read(sheet: Sheet, node: Node | None, where: str, make: Callable[[Reference], T]) -> T | None:
    if node is None:
        return None
    if not isinstance(node.value, str):
        sheet.wrong(place_of(node), where, f"needs a name, got {kind_of(node)}")
        return None
    try:
        return make(parse(node.value))
    except (UserError, ValueError) as error:
        sheet.wrong(place_of(node), where, str(error))
        return None


def _metric(ref: Reference) -> Metric:
    if ref.name not in METRICS:
        raise ValueError(f"unknown metric {ref.name!r}{near(ref.name, METRICS)}; there are {', '.join(METRICS)}")
    needed = METRICS[ref.name]
    if set(ref.options) != set(needed) or not all(_is_class(v) for v in ref.options.values()):
        usage = f"{ref.name}({', '.join(f'{k}=CLASS' for k in needed)})" if needed else f"{ref.name}, without options"
        raise ValueError(f"write it as {usage}; got {str(ref)!r}")
    return Metric(ref.name, {k: ref.options[k] for k in needed})


def _is_class(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _window(ref: Reference) -> Window:
    options = dict(ref.options)
    if ref.name == "last" and not options:
        return Window()
    if ref.name in ("max", "min") and not options:
        return Window("max" if ref.name == "max" else "min")
    if ref.name == "at" and _rounds(options.get("round")) and len(options) == 1:
        return Window("at", options["round"])
    if ref.name in ("mean", "median") and len(options) == 1:
        take: Any = ref.name
        if _rounds(options.get("rounds")):
            return Window(take, options["rounds"])
        share = options.get("share")
        if isinstance(share, float) and 0 < share <= 1:
            return Window(take, share=share)
    raise ValueError(f"needs {_WINDOWS}; got {str(ref)!r}")


def _rounds(value: Any) -> bool:
    return _is_class(value) and value >= 1
