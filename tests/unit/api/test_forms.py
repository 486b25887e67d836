"""Texts of a fixed form, in words: no schema of the API shows a regular expression."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from llm2llm.api.forms import OTHER_FORM, RULES_MARK, ClusterRule, Form
from llm2llm.api.run import AugmentationRunSpec

Even = Annotated[str, Form("(00|11)*", "must be pairs"), ClusterRule("self != '11'", "not here")]


def test_a_text_of_another_form_is_refused_with_the_message_as_a_whole():
    adapter = TypeAdapter[str](Even)
    assert adapter.validate_python("0011") == "0011"
    for text in ("0", "00\n", " 00"):
        with pytest.raises(ValidationError) as refused:
            adapter.validate_python(text)
        (error,) = refused.value.errors()
        assert (error["type"], error["msg"]) == (OTHER_FORM, "must be pairs")


def test_the_api_server_gets_the_rules_in_their_order_and_quotes_what_was_written():
    rules = TypeAdapter[str](Even).json_schema()[RULES_MARK]
    assert [rule["message"] for rule in rules] == ["must be pairs", "not here"]
    assert rules[0]["rule"] == "self.matches(r'^((00|11)*)$')"
    assert rules[0]["messageExpression"] == '"must be pairs" + ", not \'" + self + "\'"'
    assert rules[1] == {"rule": "self != '11'", "message": "not here"}


def test_what_may_be_a_key_is_not_quoted():
    schema: dict[str, Any] = TypeAdapter(Annotated[str, Form("a", "m", quoted=False)]).json_schema()
    assert schema[RULES_MARK] == [{"rule": "self.matches(r'^(a)$')", "message": "m"}]


def test_no_field_of_a_run_has_a_pattern_that_users_would_be_shown():
    assert re.findall(r'"pattern": "', json.dumps(AugmentationRunSpec.model_json_schema())) == []
