"""Cells of any length."""

from __future__ import annotations

import csv

import pytest

from llm2llm.data.cells import LONGEST_CELL, read_cells


def test_a_cell_longer_than_pythons_limit_is_read():
    csv.field_size_limit(131_072)
    assert list(read_cells(["a;" + "y" * 200_000, "b;"], ";")) == [["a", "y" * 200_000], ["b", ""]]


def test_a_cell_without_end_is_an_error():
    with pytest.raises(csv.Error, match="larger than field limit"):
        list(read_cells(["y" * (LONGEST_CELL + 1)], ","))
    with pytest.raises(csv.Error):
        list(read_cells(['"a" b,c'], ",", strict=True))
