"""The HAM10000 notebook: its short version runs from top to bottom."""

from __future__ import annotations

import json

import pytest

from tests.helpers.paths import ROOT

NOTEBOOK = ROOT / "docs/ham10000_label_flip.ipynb"


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(notebook, kind):
    """All data of one type that its cells show."""
    shown = [out for cell in code_cells(notebook) for out in cell["outputs"]]
    assert not [out for out in shown if out["output_type"] == "error"]
    return [out["data"][kind] for out in shown if kind in out.get("data", {})]


@pytest.mark.timeout(280)
def test_the_short_version_runs(real_data, tmp_path, monkeypatch):
    """In a process of its own, as a reader runs it; nothing is written beside it."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("FLIPBENCH_NOTEBOOK_QUICK", "1")
    monkeypatch.setenv("FLIPBENCH_DATA", str(real_data.absolute()))
    before = sorted(NOTEBOOK.parent.iterdir())
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in code_cells(notebook):
        cell["outputs"] = []
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources=where).execute()
    drawn = len(outputs(notebook, "image/png"))
    assert drawn >= 5
    texts = "".join(outputs(notebook, "text/markdown"))
    assert "labels were changed but no update differs" in texts  # the flips that came too late
    assert "have not been run" not in texts
    assert "failed" not in texts
    assert sorted(NOTEBOOK.parent.iterdir()) == before


def test_the_copy_in_docs_was_executed_in_full():
    notebook = json.loads(NOTEBOOK.read_text())
    assert NOTEBOOK.stat().st_size < 1_500_000
    assert len(outputs(notebook, "image/png")) == 6
    assert all(cell["execution_count"] for cell in code_cells(notebook))
    texts = "".join("".join(text) for text in outputs(notebook, "text/markdown"))
    assert "576 cells" in texts  # the whole study, not the short version
    assert "have not been run" not in texts
