"""Options of figures: the command line, a grid's file and Python take the same values and refuse the same ones."""

from __future__ import annotations

from typing import Any

import pytest

from flipbench.errors import UserError
from flipbench.spec import figure_options


@pytest.mark.parametrize(
    ("texts", "options"),
    [
        ([], {}),
        (["width=3.3", " title = False ", "caption=true"], {"width": 3.3, "title": False, "caption": True}),
        (["width=3.3", "width=7"], {"width": 7.0}),
        (["width=none", "height=None", "font=none"], {"width": None, "height": None, "font": None}),
        (["font=DejaVu Serif", "formats=pdf, svg"], {"font": "DejaVu Serif", "formats": ("pdf", "svg")}),
    ],
)
def test_texts_of_the_command_line(texts: list[str], options: dict[str, Any]) -> None:
    assert figure_options.of_texts(texts) == options
    assert figure_options.checked(options) == options


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("width", "an option of figures is NAME=VALUE, like width=3.3 or title=false; got 'width'"),
        ("widht=3", "unknown option 'widht' - did you mean 'width'"),
        ("draw=heatmap", "unknown option 'draw'"),
        ("width=wide", "width is a number of inches from 1.5 to 40, like 3.3 for a column; got 'wide'"),
        ("width=nan", "width is a number of inches"),
        ("width=1e300", "got 1e+300"),
        ("width=", "got ''"),
        ("height=-2", "height is a number of inches from 1.5 to 40"),
        ("title=no", "title is true or false, got 'no'"),
        ("title=none", "title is true or false, got 'none'"),
        ("caption=1", "caption is true or false, got '1'"),
        ("font=Comic Serif", "the font 'Comic Serif' is not installed here"),
        ("font=", "font is the name of an installed font"),
        ("formats=", "formats is a list of some of pdf, svg, png; got ['']"),
        ("formats=pdf,jpg", "formats is a list of some of pdf, svg, png"),
    ],
)
def test_a_wrong_option_is_one_message(text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        figure_options.of_texts([text])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
