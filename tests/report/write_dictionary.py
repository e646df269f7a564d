"""Writes docs/data_dictionary.md: python -m tests.report.write_dictionary"""

from __future__ import annotations

from flipbench.report.tables import dictionary
from tests.helpers.paths import ROOT

PAGE = ROOT / "docs/data_dictionary.md"

if __name__ == "__main__":
    PAGE.write_text(dictionary.markdown(), "utf-8")
