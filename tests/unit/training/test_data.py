from llm2llm.training.data import IGNORED, TokenizedRow, keep_learned, pack, pad


def test_the_prompt_and_the_padding_are_masked_and_eos_is_learned_though_it_pads() -> None:
    eos = 9
    rows = [TokenizedRow("a", [1, 2, 3, eos], 2), TokenizedRow("b", [eos, 5, 6, 7, 8, eos], 3)]

    assert pad(rows) == {
        "input_ids": [[1, 2, 3, eos, eos, eos], [eos, 5, 6, 7, 8, eos]],
        "attention_mask": [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]],
        "labels": [[IGNORED, IGNORED, 3, eos, IGNORED, IGNORED], [IGNORED, IGNORED, IGNORED, 7, 8, eos]],
    }


def test_packed_rows_begin_anew_and_none_is_asked_for_its_first_token() -> None:
    rows = [TokenizedRow("a", [1, 2, 3, 9], 2), TokenizedRow("b", [4, 5, 9], 0)]

    assert pack(rows) == {
        "input_ids": [[1, 2, 3, 9, 4, 5, 9]],
        "position_ids": [[0, 1, 2, 3, 0, 1, 2]],
        "labels": [[IGNORED, IGNORED, 3, 9, IGNORED, 5, 9]],
    }


def test_a_rank_without_a_row_learns_nothing_along_with_the_others() -> None:
    for collated in (pad([]), pack([])):
        assert collated["input_ids"] == [[0, 0]]
        assert collated["labels"] == [[IGNORED, IGNORED]]


def test_only_positions_before_a_learned_token_of_any_row_are_kept() -> None:
    eos = 9
    rows = [TokenizedRow("a", [1, 2, 3, eos], 2), TokenizedRow("b", [eos, 5, 6, 7, 8, eos], 3)]

    batch = keep_learned(pad(rows))
    assert batch["logits_to_keep"] == [1, 2, 3, 4]
    assert batch["labels"] == [[IGNORED, 3, eos, IGNORED, IGNORED], [IGNORED, IGNORED, 7, 8, eos]]
    assert batch["input_ids"] == pad(rows)["input_ids"]

    batch = keep_learned(pack([*rows, TokenizedRow("c", [4, 5, eos], 0)]))
    assert batch["logits_to_keep"] == [1, 2, 6, 7, 8, 10, 11]
    assert batch["labels"] == [[IGNORED, 3, eos, 7, 8, eos, 5, eos]]


def test_a_rank_without_a_row_keeps_one_position_from_which_nothing_is_learned() -> None:
    for collated in (pad([]), pack([])):
        batch = keep_learned(collated)
        assert batch["logits_to_keep"] == [0]
        assert batch["labels"] == [[IGNORED, IGNORED]]
