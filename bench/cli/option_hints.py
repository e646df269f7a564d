"""What to write in place of an option that is not there: fields of a cell are set with ``--set``."""

from __future__ import annotations

from collections.abc import Sequence

_WITH_GRIDS = ("run", "plan")  # the commands that take --set
_OTHER_NAMES = {"lr": "learning_rate", "epochs": "local_epochs", "f": "declared_byzantine", "alpha": "partition.alpha"}


def field_hint(option: str, given: Sequence[str]) -> str | None:
    """How the field that an unknown option means is set; None where it means no field.

    Args:
        option: as it was written, like ``--rounds`` or ``--malicious-fraction``.
        given: the words of the command line behind ``flipbench``.

    Returns:
        A sentence with the words to write, like ``--set rounds=5``.
    """
    from flipbench.spec.cell import FIELDS

    if not given or given[0] not in _WITH_GRIDS:
        return None
    name = option.lstrip("-").replace("-", "_")
    field = next((f for f in (name, _OTHER_NAMES.get(name, ""), name.removesuffix("s")) if _is_field(f, FIELDS)), None)
    if field is None:
        return None
    return f"Fields of the grid are set with --set: write --set {_quoted(field, _value(option, given))}"


def _is_field(name: str, fields: Sequence[str]) -> bool:
    return name.partition(".")[0] in fields


def _value(option: str, given: Sequence[str]) -> str:
    """What stands behind the option, or VALUE where nothing does."""
    for word, following in zip(given, [*given[1:], ""], strict=True):
        if word == option:
            return following if following and not following.startswith("--") else "VALUE"
        if word.startswith(f"{option}="):
            return word.partition("=")[2] or "VALUE"
    return "VALUE"


def _quoted(field: str, value: str) -> str:
    import shlex

    return shlex.quote(f"{field}={value}")
