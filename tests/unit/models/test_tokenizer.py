"""Special tokens that a tokenizer has and its model has not."""

from __future__ import annotations

import pytest

from llm2llm.errors import ConfigurationError
from llm2llm.models.tokenizer import ModelInfo, StudentTokenizer, check_vocabulary


@pytest.mark.parametrize("around", [[], [7]], ids=["none before a word", "one before it"])
def test_a_special_token_beyond_the_models_vocabulary_is_refused_by_a_tokenizer_that_has_no_word_too(
    around: list[int],
) -> None:
    tokens = StudentTokenizer(encode=lambda texts, special: [around * special for _ in texts], decode=str, eos=5)
    highest = max([5, *around])

    check_vocabulary(tokens, ModelInfo(context=8, heads=1, architectures=(), vocabulary=highest + 1))
    with pytest.raises(ConfigurationError, match=f"a special token {highest}, but the model's vocab_size is {highest}"):
        check_vocabulary(tokens, ModelInfo(context=8, heads=1, architectures=(), vocabulary=highest))
