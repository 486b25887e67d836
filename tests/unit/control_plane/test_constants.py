"""Names that leave the process: each is a name that Kubernetes takes, and no other module spells it again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import llm2llm_operator
from llm2llm_operator import constants

ROOM = Path(llm2llm_operator.__path__[0])
LABELS = {name: value for name, value in vars(constants).items() if name.startswith("LABEL_") or name == "MANAGED_BY"}


@pytest.mark.parametrize("key", LABELS.values())
def test_a_label_is_a_domain_a_slash_and_a_name_of_at_most_63_characters(key: str):
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", key)


def test_no_two_labels_have_one_key():
    assert len(set(LABELS.values())) == len(LABELS) > 5


def test_no_module_spells_a_label_itself():
    domains = "|".join(sorted({re.escape(key.partition("/")[0]) for key in LABELS.values()}))
    found = {
        path.relative_to(ROOM).as_posix(): literals
        for path in ROOM.rglob("*.py")
        if path.name != "constants.py" and (literals := re.findall(rf"(?:{domains})/[\w-]+", path.read_text()))
    }
    assert found == {}
