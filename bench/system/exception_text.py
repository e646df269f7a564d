"""Texts of exceptions that plug-ins raise, even of those whose own text cannot be had."""

from __future__ import annotations

import traceback
from pathlib import Path

from flipbench.system.signals import is_users


def text(error: BaseException) -> str:
    """Its text; where that cannot be had, which exception came in its place."""
    try:
        return str(error)
    except BaseException as other:
        if is_users(other):
            raise
        return f"(its text cannot be had: {type(other).__name__})"


def with_type(error: BaseException) -> str:
    """``ValueError: its text``, or the name alone."""
    name, its_text = type(error).__name__, text(error)
    return f"{name}: {its_text}" if its_text else name


def with_line(error: BaseException) -> str:
    """``ValueError: its text (rule.py:7)``: the line is where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return with_type(error) + where
