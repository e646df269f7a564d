"""The fixture that writes the text of a grid to a file."""

import pytest


@pytest.fixture
def write(tmp_path):
    def to_file(text, name="my_grid.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return to_file
