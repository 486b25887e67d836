"""The cards of students and of rows; huggingface_hub reads them as the Hub does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DatasetCard, ModelCard
from tests.support import builders
from tests.support.finished import finished_run

from llm2llm.report.collect import collect
from llm2llm.results.card import model_card
from llm2llm.results.fetch import fetch_dataset, fetch_student
from llm2llm.results.student import locate

HUB: dict[str, Any] = {"student": {"model": {"uri": "hf://org/base"}}}
PRICES = {"prices": {"inputPerMillionTokens": "1", "outputPerMillionTokens": "2"}}


def card_of(folder: Path, index: int | None = None, **changes: Any) -> str:
    run = finished_run(folder, **changes)
    return model_card(collect(run.view(), run.store), locate(run, index).record)


def test_the_hub_reads_from_a_card_what_the_student_is_and_how_it_scored(tmp_path: Path):
    card = ModelCard(card_of(tmp_path, **HUB))
    told = card.data.to_dict()
    assert {name: told[name] for name in ("base_model", "base_model_relation", "library_name", "tags")} == {
        "base_model": "org/base", "base_model_relation": "adapter", "library_name": "peft", "tags": ["llm2llm", "lora"],
    }  # fmt: skip
    data: Any = card.data
    result, tested = data.eval_results
    assert (tested.metric_value, tested.dataset_split) == (0.6, "test")
    assert (result.metric_type, result.metric_value, result.dataset_split) == ("accuracy", 0.7, "evaluation")
    assert result.metric_name == "accuracy, 95 % interval 0.650 to 0.750"
    assert "(100)" in result.dataset_name


def test_a_card_says_what_was_trained_on_what_and_how_it_is_asked(tmp_path: Path):
    text = card_of(tmp_path, **HUB, randomSeed=5)
    for words in (
        "[org/base](https://huggingface.co/org/base) at revision `abc`",
        "| evaluation | accuracy | 0.700 | 0.650 to 0.750 | 100 |",
        "| seed rows | 40 |\n| t, in iteration 0 | 1 |\n| in this training | 41 |",
        "    {{ prompt }}\n",
        "AutoPeftModelForCausalLM",
        "random seed 5",
        "- cost: the run has no prices",
        "- digest of the spec: `sha256:",
        "- output of the training: `sha256:",
    ):
        assert words in text, words


def test_the_training_rows_are_no_result_and_addresses_are_not_told(tmp_path: Path):
    assert "s3://" not in (text := card_of(tmp_path))
    assert "http://teacher" not in text
    assert "base_model" not in text
    assert "a base model that is not on the Hub (abc)" in text


def test_a_student_that_is_not_the_best_says_so(tmp_path: Path):
    assert "This is not the best iteration of its run." in card_of(tmp_path, 2)


def test_a_whole_model_is_loaded_without_peft(tmp_path: Path):
    card = ModelCard(card_of(tmp_path, **HUB, train={"method": "Full"}))
    assert card.data.to_dict()["library_name"] == "transformers"
    assert "AutoPeft" not in card.content


@pytest.mark.parametrize("name", ["a | b", "<script>", "a\u202eb\x1b[31m"])
def test_a_name_of_others_writes_no_markup(tmp_path: Path, name: str):
    teacher = {"teacher": {"model": name, "baseUrl": "http://teacher/v1"}}
    text = card_of(tmp_path, generate=teacher)
    assert "<script>" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "a | b" not in text


def test_rows_have_a_card_that_names_their_file_and_columns(tmp_path: Path):
    run = finished_run(tmp_path / "run")
    assert fetch_dataset(run, tmp_path / "rows", None) == "3 rows"
    card = DatasetCard.load(tmp_path / "rows" / "README.md")
    data = card.data.to_dict()
    assert data["configs"] == [{"config_name": "default", "data_files": "train.jsonl"}]
    assert (data["size_categories"], data["tags"]) == (["n<1K"], ["llm2llm", "synthetic"])
    assert "Columns: `id`, `prompt`, `completion`, `source`, `iteration`, `seed`." in card.content
    assert len((tmp_path / "rows" / "train.jsonl").read_text().splitlines()) == 3


def test_a_fetched_student_has_its_card(tmp_path: Path):
    run = finished_run(tmp_path / "run", budget=PRICES)
    fetch_student(run, tmp_path / "student", None)
    assert "- cost: 0.00" in (tmp_path / "student" / "README.md").read_text()
    assert builders.UID not in (tmp_path / "student" / "README.md").read_text()
