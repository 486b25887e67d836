"""What a tokenizer makes of prompts and completions; tests/integration/data_plane/test_tokenizers.py has real ones."""

from __future__ import annotations

import pytest

from llm2llm.errors import ConfigurationError
from llm2llm.models.tokenizer import StudentTokenizer, check_chat_template


def tokens(chat: object = None) -> StudentTokenizer:
    """A tokenizer whose ids are the letters' numbers, with 1 before a text and 2 as its end."""
    return StudentTokenizer(
        encode=lambda texts, special: [[1] * special + [ord(letter) for letter in text] for text in texts],
        decode=lambda ids: "".join(map(chr, ids)),
        eos=2,
        chat=chat,  # type: ignore[arg-type]
    )


def test_a_prompt_has_no_end_and_a_completion_has_one():
    assert tokens().prompts(["ab"]) == [[1, 97, 98]]
    assert tokens().completions([" ab\n"]) == [[97, 98, 2]]
    assert tokens().text([97, 98, 2, 99]) == "ab"
    assert tokens(lambda text: f"<{text}>").prompts(["a"]) == [[60, 97, 62]]


def test_a_template_that_keeps_a_turn_is_fine_and_so_is_none():
    check_chat_template(tokens())
    check_chat_template(tokens(lambda text: f"<user>{text}<assistant>"))


@pytest.mark.parametrize("lose", [lambda _: "hello", str.upper, lambda text: text[:30], lambda text: text[::-1]])
def test_a_template_that_loses_or_changes_a_turn_is_refused(lose: object):
    with pytest.raises(
        ConfigurationError, match=r"omits or changes the user message: set spec\.task\.chatTemplate: Never"
    ):
        check_chat_template(tokens(lose))
