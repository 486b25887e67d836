"""Combinations of switches that have every pair of their settings, and not every combination of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

Row = dict[str, str]
Pair = frozenset[tuple[str, str]]


def pairs_of(row: Mapping[str, str]) -> set[Pair]:
    """The pairs of settings that a combination has."""
    return {frozenset(pair) for pair in combinations(row.items(), 2)}


def all_pairs(switches: Mapping[str, Sequence[str]]) -> list[Row]:
    """Greedily chosen combinations: each begins with a pair that is still missing, and takes of each further switch the
    setting that completes the most missing pairs.

    Args:
        switches: settings by switch, in an order that decides among equals.
    """
    missing = {
        frozenset(((first, a), (second, b)))
        for first, second in combinations(switches, 2)
        for a in switches[first]
        for b in switches[second]
    }
    rows: list[Row] = []
    while missing:
        row: Row = dict(min(missing, key=sorted))
        for switch, settings in switches.items():
            if switch not in row:
                row[switch] = max(settings, key=lambda setting: len(pairs_of({**row, switch: setting}) & missing))
        missing -= pairs_of(row)
        rows.append({switch: row[switch] for switch in switches})
    return rows
