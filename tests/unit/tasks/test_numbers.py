"""Which number a text states, and which texts state none."""

from __future__ import annotations

import pytest

from llm2llm.tasks.numbers import number_in


@pytest.mark.parametrize(
    ("text", "number"),
    [
        pytest.param("18", "18", id="a whole number"),
        pytest.param("-5", "-5", id="a negative one"),
        pytest.param("\u22125", "-5", id="with the typographer's minus"),
        pytest.param("- 5", "-5", id="with a space behind the minus"),
        pytest.param("+7", "7", id="with a plus"),
        pytest.param("18.0", "18", id="a decimal that is whole"),
        pytest.param("0.50", "1/2", id="a trailing zero"),
        pytest.param(".5", "1/2", id="nothing before the point"),
        pytest.param("42.", "42", id="a full stop behind it"),
        pytest.param("10,", "10", id="a comma behind it"),
        pytest.param("3/4", "3/4", id="a fraction"),
        pytest.param("16/32", "1/2", id="a fraction that can be reduced"),
        pytest.param("1 1/2 cups", "3/2", id="a mixed number"),
        pytest.param("-1 1/2", "-3/2", id="a negative mixed number"),
        pytest.param("1e3", "1000", id="an exponent"),
        pytest.param("12%", "12", id="per cent"),
        pytest.param("$18", "18", id="currency before it"),
        pytest.param("18 \u20ac", "18", id="currency behind it"),
        pytest.param("$-5", "-5", id="a minus behind the currency"),
        pytest.param("-$5", "-5", id="a minus before the currency"),
        pytest.param("1,000,000", "1000000", id="thousands"),
        pytest.param("$1,234.50", "2469/2", id="thousands and cents"),
        pytest.param("1\u202f000", "1000", id="thin spaces between thousands"),
        pytest.param("5kg", "5", id="a unit attached"),
        pytest.param("18 dollars", "18", id="a unit apart"),
        pytest.param("The answer is 9.", "9", id="words around it"),
        pytest.param("18 (18 dollars)", "18", id="the same number twice"),
        pytest.param("0.5 or 1/2", "1/2", id="the same number in two forms"),
        pytest.param("**42**", "42", id="Markdown"),
        pytest.param("\\$42", "42", id="TeX"),
        pytest.param("= 72", "72", id="an equals sign"),
        pytest.param("", None, id="nothing"),
        pytest.param("no", None, id="no number"),
        pytest.param("twelve", None, id="a number in words"),
        pytest.param("5 apples and 3 pears", None, id="two numbers"),
        pytest.param("5-3", None, id="a difference"),
        pytest.param("7 \u00d7 8", None, id="a product"),
        pytest.param("3:2", None, id="a ratio"),
        pytest.param("2024-01-05", None, id="a date"),
        pytest.param("1,23", None, id="a comma that is no separator of thousands"),
        pytest.param("12,34,567", None, id="groups of two"),
        pytest.param("10.000.000", None, id="points between thousands"),
        pytest.param("2^10", None, id="a power"),
        pytest.param("1/0", None, id="nothing over nought"),
        pytest.param("x2", None, id="a name with a digit"),
        pytest.param("1 000", None, id="a plain space between digits"),
    ],
)
def test_the_number_in_an_answer(text: str, number: str | None):
    found = number_in(text)
    assert (None if found is None else str(found)) == number
