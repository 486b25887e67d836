"""Which rows a round asks for, what it says of the answers, and when the teacher is not up to the task."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.augment.prompt import EARLIER_SHOWN, Mistake
from llm2llm.errors import LowAcceptance
from llm2llm.records import Example, Lineage, Usage
from llm2llm.stages.round import TRIAL, Item, Round, RoundInputs, begin_round
from llm2llm.teacher.ledger import LedgerRecord

MISTAKES = 10
SEEDS = [
    Example(id=f"seed-{number:02d}", fields={"prompt": f"the sentence of number {number}"}, completion="yes")
    for number in range(40)
]


def inputs(mistakes: int = MISTAKES) -> RoundInputs:
    """The first `mistakes` of every third seed row were answered wrongly."""
    return RoundInputs(
        seeds=SEEDS,
        held_out=[],
        mistakes=[Mistake(seed, "no") for seed in SEEDS[::3][:mistakes]],
        synthetic=[],
        paid=Usage(),
        by_seed={},
    )


def begun(known: RoundInputs | None = None, *, random_seed: int = 0, **generate: Any) -> Round:
    options = builders.spec()["generate"] | {"examplesPerMistake": 3} | generate
    spec = builders.spec(generate=options, randomSeed=random_seed)
    return begin_round(AugmentationRunSpec.model_validate(spec), 1, known or inputs())


def seeds_asked_for(mistakes: int = MISTAKES, **options: Any) -> Counter[str]:
    """How many rows are requested for each seed example."""
    return Counter(item.mistake.example.id for item in begun(inputs(mistakes), **options).items)


def test_an_untargeted_round_without_mistakes_writes_rows_all_the_same():
    assert seeds_asked_for(0, strategy="Untargeted", rowsPerRound=25).total() == 25
    assert seeds_asked_for(0, strategy="Untargeted").total() == 3  # as for one mistake
    assert seeds_asked_for(0, rowsPerRound=25).total() == 0


def test_untargeted_seeds_are_drawn_by_the_random_seed_and_not_by_the_mistakes():
    first = seeds_asked_for(strategy="Untargeted", rowsPerRound=10)
    assert seeds_asked_for(3, strategy="Untargeted", rowsPerRound=10) == first
    assert seeds_asked_for(strategy="Untargeted", rowsPerRound=10, random_seed=1) != first
    assert len(first) == 10
    wrong = {mistake.example.id for mistake in inputs().mistakes}
    assert len(wrong & set(first)) < 6


def test_a_round_that_begins_again_makes_the_same_requests_and_each_of_its_own():
    first, again = begun(inputs(3)), begun(inputs(3))
    requests = [first.request(item, 0) for item in first.items]
    assert [again.request(item, 0) for item in again.items] == requests
    assert len({request.key("m", {}) for request in requests}) == 3 * 3
    waves = {first.request(first.items[0], wave).key("m", {}) for wave in range(3)}
    assert len(waves) == 3


def answer(round_: Round, item: Item, text: str, wave: int = 0, finish: str = "stop") -> None:
    """Has the round judge this answer to one of its requests."""
    request = round_.request(item, wave)
    round_.judge(
        item,
        LedgerRecord(
            key=f"key of {item.sample}",
            iteration=1,
            seed=request.seed,
            sample=item.sample,
            wave=wave,
            model="t",
            text=text,
            finish=finish,
            prompt_digest=request.prompt_digest,
        ),
    )


def row(prompt: str) -> str:
    return json.dumps({"prompt": prompt, "completion": "yes"})


def asked(round_: Round, item: Item, wave: int) -> str:
    return str(round_.request(item, wave).messages[-1]["content"])


def test_a_refused_answer_is_on_record_and_shown_in_the_next_wave_and_its_row_is_still_wanted():
    round_ = begun()
    item = round_.items[0]
    assert "(equals seed-05)" not in asked(round_, item, 1)
    answer(round_, item, row(SEEDS[5].fields["prompt"]))
    assert (item.row, round_.kept, round_.judged) == (None, [], 1)
    (rejected,) = round_.rejected
    assert (rejected.id, rejected.reason, rejected.detail) == ("s1-seed-00-1", "copy", "equals seed-05")
    assert "(equals seed-05)" in asked(round_, item, 1)


def test_a_kept_row_is_known_to_the_filters_from_then_on():
    round_ = begun()
    for item in round_.items[:2]:
        answer(round_, item, row("quite a new sentence"))
    assert [kept.id for kept in round_.kept] == ["s1-seed-00-1"]
    assert [rejected.detail for rejected in round_.rejected] == ["equals s1-seed-00-1"]


def test_a_row_for_a_synthetic_mistake_goes_back_to_the_seed_and_names_the_row_that_it_was_written_for():
    parent = Example(
        id="s0-seed-07-2", fields={"prompt": "an earlier row"}, completion="yes", lineage=Lineage(seed="seed-07", parent="seed-07")
    )  # fmt: skip
    round_ = begun(replace(inputs(0), mistakes=[Mistake(parent, "no")], synthetic=[parent]))
    answer(round_, round_.items[1], row("quite a new sentence"), wave=2)
    (kept,) = round_.kept
    assert kept.lineage
    assert (kept.id, kept.root, kept.lineage.parent) == ("s1-s0-seed-07-2-2", "seed-07", "s0-seed-07-2")
    assert (kept.lineage.iteration, kept.lineage.sample, kept.lineage.wave) == (1, 2, 2)
    assert (kept.lineage.teacher, kept.lineage.request_key) == ("t", "key of 2")


def test_of_the_rows_that_were_written_for_a_seed_the_newest_are_shown_and_never_the_row_itself():
    written = [
        Example(id=f"w{number}", fields={"prompt": ""}, completion="yes", lineage=Lineage(seed="seed-00", parent="seed-00"))
        for number in range(EARLIER_SHOWN + 3)
    ]  # fmt: skip
    known = replace(inputs(), by_seed={"seed-00": written})
    assert known.written_for(SEEDS[0]) == written[3:]
    assert known.written_for(written[-1]) == written[2:-1]
    assert known.written_for(SEEDS[1]) == []


@pytest.mark.parametrize(
    ("answers", "over", "fails"),
    [
        pytest.param(["copy"] * 9, True, False, id="a share of nine says nothing"),
        pytest.param(["copy"] * 10, False, True, id="ten that are all refused do"),
        pytest.param(["kept", *["copy"] * 9], False, False, id="one of ten is the share that is asked for"),
        pytest.param(["kept", *["copy"] * 10], False, True, id="one of eleven is less"),
        pytest.param(["garbage"] * 3, False, False, id="three that cannot be read may come better in the next wave"),
        pytest.param(["garbage"] * 3, True, True, id="a round is over without one that could be read"),
        pytest.param(["garbage", "garbage", "copy"], True, False, id="one could be read at least"),
        pytest.param(["garbage", "garbage", "kept"], True, False, id="one was kept"),
        pytest.param([], True, False, id="nothing was asked for"),
    ],
)
def test_a_round_fails_only_where_its_answers_show_that_the_teacher_is_not_up_to_it(
    answers: list[str], over: bool, fails: bool
):
    round_ = begun()
    texts = {"copy": row(SEEDS[5].fields["prompt"]), "kept": row("quite a new sentence"), "garbage": "no JSON"}
    for item, kind in zip(round_.items, answers, strict=False):
        answer(round_, item, texts[kind])
    if not fails:
        round_.check_acceptance(over=over)
        return
    with pytest.raises(LowAcceptance) as caught:
        round_.check_acceptance(over=over)
    kept = answers.count("kept")
    assert f"the filters kept {kept} of {len(answers)} rows ({round_.refusals()})" in caught.value.message
    assert "minAcceptance 0.1. For example: " in caught.value.message


def test_exactly_the_least_share_is_enough():
    """As floats 0.28 * 25 is a little more than 7."""
    round_ = begun(filters={"minAcceptance": "0.28"})
    for number, item in enumerate(round_.items[:25]):
        answer(round_, item, row(" ".join(["new"] * number)) if 0 < number < 8 else "no JSON")
    assert len(round_.kept) == 7
    round_.check_acceptance(over=True)
    answer(round_, round_.items[25], "no JSON")
    with pytest.raises(LowAcceptance, match=r"kept 7 of 26 rows .*minAcceptance 0\.28"):
        round_.check_acceptance()


def test_a_summary_counts_reasons_and_the_kept_rows_that_hardly_differ_from_their_seed():
    round_ = begun(filters={"dedup": {"threshold": "1"}})
    assert round_.refusals() == "none rejected"
    first, second, third, fourth = round_.items[:4]
    answer(round_, first, row("the sentence of number zero"))
    answer(round_, second, row("quite another one than that"))
    answer(round_, third, "no JSON")
    answer(round_, fourth, row(SEEDS[5].fields["prompt"]))
    assert round_.refusals() == "copy 1, schema 1; 1 kept rows differ from their own seed by at most one word"


def test_the_first_rows_of_a_round_are_from_all_over_it():
    items = begun(inputs(10)).trial_items()
    assert len(items) == TRIAL
    assert {item.mistake.example.id for item in items} == {seed.id for seed in SEEDS[::3][:10]}


@pytest.mark.parametrize(
    ("floor", "rows", "trial"),
    [
        pytest.param("0.1", 29, 0, id="a round that is hardly longer has none"),
        pytest.param("0.1", 30, 20, id="a third of the round is left"),
        pytest.param("1", 30, 20, id="all rows shall be kept"),
        pytest.param("0.05", 2000, 90, id="a twentieth"),
        pytest.param("0.01", 688, 0, id="hardly longer than the longer trial"),
        pytest.param("0.01", 689, 459, id="the longer trial leaves a third"),
        pytest.param("0.00001", 5000, 0, id="next to nothing"),
        pytest.param("0", 2000, 0, id="nothing need be kept"),
    ],
)
def test_the_less_a_round_may_keep_the_longer_is_its_trial(floor: str, rows: int, trial: int):
    items = begun(inputs(10), rowsPerRound=rows, filters={"minAcceptance": floor}).trial_items()
    assert len({id(item) for item in items}) == len(items) == trial


def test_a_trial_hardly_ever_ends_a_round_that_keeps_just_enough():
    """A share of (1 - floor) ^ rows of such rounds has no kept row in the trial: a hundredth, or at .1 an eighth."""
    for floor in ("0.01", "0.02", "0.05", "0.09"):
        trial = len(begun(inputs(10), rowsPerRound=5000, filters={"minAcceptance": floor}).trial_items())
        assert (1 - float(floor)) ** trial <= 0.01 < (1 - float(floor)) ** (trial - 1)


def trial_records(round_: Round, texts: list[str]) -> list[LedgerRecord]:
    blank = LedgerRecord(key="k", iteration=1, seed="s", sample=1, wave=0, model="t")
    return [blank.model_copy(update={"text": text}) for text in texts]


def test_a_round_of_whose_first_rows_none_is_kept_stops_and_says_why():
    round_ = begun(inputs(10))
    items = round_.trial_items()
    with pytest.raises(LowAcceptance) as caught:
        round_.check_trial(items, trial_records(round_, ["no JSON"] * TRIAL))
    told = "the filters kept none of the first 20 rows (schema 20), so the other 10 of this round were not requested"
    assert caught.value.message.startswith(told)


def test_one_row_that_is_kept_is_enough_and_nothing_is_remembered_of_the_trial():
    round_ = begun(inputs(10))
    items = round_.trial_items()
    round_.check_trial(items, trial_records(round_, [*["no JSON"] * (TRIAL - 1), row("quite a new sentence")]))
    assert (round_.judged, round_.kept, round_.rejected) == (0, [], [])
    answer(round_, items[0], row("quite a new sentence"))
    assert len(round_.kept) == 1
