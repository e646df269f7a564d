"""The notebooks in docs: both run from top to bottom, and the copies that are committed show what they showed."""

from __future__ import annotations

import ast
import json

import pytest

from tests.helpers.paths import ROOT

QUICKSTART = ROOT / "docs/quickstart.ipynb"
HAM10000 = ROOT / "docs/ham10000_label_flip.ipynb"


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(notebook, kind):
    """All data of one type that its cells show."""
    shown = [out for cell in code_cells(notebook) for out in cell["outputs"]]
    assert not [out for out in shown if out["output_type"] == "error"]
    return [out["data"][kind] for out in shown if kind in out.get("data", {})]


def executed(path):
    """The notebook after it ran in a process of its own, as a reader runs it; nothing is written beside it."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    before = sorted(path.parent.iterdir())
    notebook = nbformat.read(path, as_version=4)
    for cell in code_cells(notebook):
        cell["outputs"] = []
    where = {"metadata": {"path": str(path.parent)}}
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources=where).execute()
    assert sorted(path.parent.iterdir()) == before
    return notebook


def imported(path):
    """The modules of flipbench that a notebook imports."""
    found = set()
    for cell in code_cells(json.loads(path.read_text())):
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            if isinstance(node, ast.Import):
                found |= {a.name for a in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module))
    return {name for name in found if name.split(".")[0] == "flipbench"}


@pytest.mark.notebook
@pytest.mark.timeout(280)
def test_the_quickstart_runs(monkeypatch):
    monkeypatch.setenv("FLIPBENCH_NOTEBOOK_WORKERS", "1")
    notebook = executed(QUICKSTART)
    assert len(outputs(notebook, "image/png")) == 1
    texts = "".join(outputs(notebook, "text/plain"))
    assert "<Results quickstart: 144 cells, 126 done, 18 infeasible>" in texts
    assert "216 of 216 cells, 144 done before" in texts  # a function of the notebook beside cells that were there
    assert "smooth\\_centre(radius=2)" in texts


def test_the_quickstart_uses_the_public_api_alone():
    assert imported(QUICKSTART) == {"flipbench"}


def test_the_quickstart_in_docs_was_executed():
    notebook = json.loads(QUICKSTART.read_text())
    assert QUICKSTART.stat().st_size < 300_000
    assert all(cell["execution_count"] for cell in code_cells(notebook))
    assert len(outputs(notebook, "image/png")) == 1
    assert outputs(notebook, "text/html")


@pytest.mark.notebook
@pytest.mark.timeout(280)
def test_the_short_version_of_the_ham10000_notebook_runs(real_data, monkeypatch):
    monkeypatch.setenv("FLIPBENCH_NOTEBOOK_QUICK", "1")
    monkeypatch.setenv("FLIPBENCH_DATA", str(real_data.absolute()))
    notebook = executed(HAM10000)
    drawn = len(outputs(notebook, "image/png"))
    assert drawn >= 5
    texts = "".join(outputs(notebook, "text/markdown"))
    assert "labels were changed but no update differs" in texts  # the flips that came too late
    assert "have not been run" not in texts
    assert "failed" not in texts


def test_the_ham10000_notebook_in_docs_was_executed_in_full():
    notebook = json.loads(HAM10000.read_text())
    assert HAM10000.stat().st_size < 1_500_000
    assert len(outputs(notebook, "image/png")) == 6
    assert all(cell["execution_count"] for cell in code_cells(notebook))
    texts = "".join("".join(text) for text in outputs(notebook, "text/markdown"))
    assert "576 cells" in texts  # the whole study, not the short version
    assert "have not been run" not in texts
