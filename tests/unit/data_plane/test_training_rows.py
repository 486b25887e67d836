from llm2llm.training.data import IGNORED, Row, padded


def test_the_prompt_and_the_padding_are_masked_and_eos_is_learnt_though_it_pads() -> None:
    eos = pad = 9
    rows = [Row("a", [1, 2, 3, eos], 2), Row("b", [eos, 5, 6, 7, 8, eos], 3)]

    assert padded(rows, pad) == {
        "input_ids": [[1, 2, 3, eos, pad, pad], [eos, 5, 6, 7, 8, eos]],
        "attention_mask": [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]],
        "labels": [[IGNORED, IGNORED, 3, eos, IGNORED, IGNORED], [IGNORED, IGNORED, IGNORED, 7, 8, eos]],
    }
