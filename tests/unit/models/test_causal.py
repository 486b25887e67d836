"""The table of causal models, beside the one of transformers."""

from __future__ import annotations

from llm2llm.models.causal import CAUSAL_TYPES


def test_the_causal_types_are_those_of_transformers():
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    assert set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) == CAUSAL_TYPES
