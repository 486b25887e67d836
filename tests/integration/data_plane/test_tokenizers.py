"""Tokenizers as they are published: what Prepare makes of them, and training."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from tests.support import keyword
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.normalizers import NFC, NFKC
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from llm2llm.artifacts.committed import committed_manifest, read_object
from llm2llm.errors import ConfigurationError, DataError
from llm2llm.models.tokenizer import load_tokenizer
from llm2llm.records import Report, Stage
from llm2llm.runtime.context import StepContext
from llm2llm.step import run_step
from llm2llm.storage import LocalStore

END = "<|endoftext|>"


def byte_level(normalizer: Any = None) -> Tokenizer:
    """A tokenizer of the kind that GPT-2, Llama and Qwen have: one token a byte, and one for the end."""
    alphabet = sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({letter: number for number, letter in enumerate([*alphabet, END])}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.add_special_tokens([END])
    return tokenizer


def with_files(folder: Path, tokenizer: Tokenizer, files: dict[str, Any]) -> Path:
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


GENERIC = {"tokenizer_class": "PreTrainedTokenizerFast"}
AS_OBJECT = {"__type": "AddedToken", "content": END}


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"tokenizer_config.json": {"model_max_length": 1024}}, id="by the model's kind of tokenizer"),
        pytest.param({}, id="by that kind, without a config of the tokenizer"),
        pytest.param(
            {"tokenizer_config.json": GENERIC, "special_tokens_map.json": {"eos_token": END}}, id="in another file"
        ),
        pytest.param({"tokenizer_config.json": GENERIC | {"eos_token": END}}, id="in its config"),
        pytest.param({"tokenizer_config.json": GENERIC | {"eos_token": AS_OBJECT}}, id="there as an object"),
    ],
)
def test_the_end_of_an_answer_is_found_wherever_a_tokenizer_has_it(tmp_path: Path, files: dict[str, Any]) -> None:
    folder = with_files(tmp_path / "model", byte_level(), {"config.json": {"model_type": "gpt2"}} | files)

    assert load_tokenizer(folder).eos == len(ByteLevel.alphabet())


def test_a_tokenizer_without_an_end_is_refused(tmp_path: Path) -> None:
    folder = with_files(tmp_path / "model", byte_level(), {"tokenizer_config.json": GENERIC})

    with pytest.raises(ConfigurationError, match="the tokenizer has no EOS token"):
        load_tokenizer(folder)


def test_a_prompt_goes_on_and_an_answer_ends_whatever_the_tokenizer_puts_around_a_text(
    tmp_path: Path,
) -> None:
    """As with `add_eos_token`: behind a prompt's end nothing is to be said any more."""
    tokenizer = byte_level()
    end = tokenizer.token_to_id(END)
    tokenizer.post_processor = TemplateProcessing(single=f"$A {END}", special_tokens=[(END, end)])
    tokens = load_tokenizer(
        with_files(tmp_path / "model", tokenizer, {"tokenizer_config.json": GENERIC | {"eos_token": END}})
    )

    (prompt,), (answer,) = tokens.prompts(["ab"]), tokens.completions([" yes\n"])
    assert len(prompt) == 2
    assert end not in prompt
    assert [*answer] == [*tokens.completions(["yes"])[0]] == [*tokens.prompts(["yes"])[0], end]
    assert tokens.text([*answer, *prompt]) == "yes"


def test_special_tokens_are_no_part_of_an_answer(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<|turn|>"])
    tokens = load_tokenizer(
        with_files(tmp_path / "model", tokenizer, {"tokenizer_config.json": GENERIC | {"eos_token": END}})
    )

    assert tokens.text([int(tokenizer.token_to_id("<|turn|>") or 0), *tokens.completions(["yes"])[0]]) == "yes"


def prepared(folder: Path, tokenizer: Tokenizer, seeds: list[str], held_out: list[str]) -> Report:
    """A run over rows with these completions."""
    model = with_files(folder / "model", tokenizer, {"tokenizer_config.json": GENERIC | {"eos_token": END}})
    keyword.config().save_pretrained(str(model))
    (model / "model.safetensors").write_bytes(keyword.NO_WEIGHTS)
    for name, completions in (("seed", seeds), ("evaluation", held_out)):
        rows = [{"text": f"{name} {number}", "label": text} for number, text in enumerate(completions)]
        (folder / f"{name}.jsonl").write_bytes(keyword.jsonl(rows))
    spec = keyword.spec(
        seed_uri=(folder / "seed.jsonl").as_uri(),
        evaluation_uri=(folder / "evaluation.jsonl").as_uri(),
        model_uri=model.as_uri(),
        artifacts_uri=(folder / "runs").as_uri(),
        task={"promptTemplate": "{{ text }}", "grader": {"type": "ExactMatch"}},
    )
    context = StepContext(pod_uid="pod-1", scratch=folder / "scratch")
    return run_step(keyword.Run(spec).step(Stage.PREPARE), LocalStore(folder / "runs"), context)


def test_rows_that_no_student_could_ever_get_right_are_told_with_their_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, byte_level(NFKC()), ["old", f"an old {END} new", "\uff21B"], ["new", f"{END}"])

    what = "write it that way, or without the characters that are lost"
    for words in (
        "seed.jsonl has 2 broken rows: ",
        f"line 2: the tokenizer turns {f'an old {END}'!r} into 'an old ': {what}; ",
        f"line 3: the tokenizer turns '\uff21B' into 'AB': {what}",
        f"evaluation.jsonl has 1 broken row: line 2: the tokenizer turns '{END}' into '': {what}",
    ):
        assert words in caught.value.message


def test_rows_in_another_encoding_than_the_tokenizers_are_taken(tmp_path: Path) -> None:
    seeds = [unicodedata.normalize(form, "Th\u00e0nh ph\u1ed1") for form in ("NFC", "NFD")]

    assert prepared(tmp_path, byte_level(NFC()), [*seeds, "5 \u212b"], seeds).exit_code == 0


@pytest.mark.parametrize("clean_up", [False, True])
def test_spaces_before_a_full_stop_come_back_in_prepare_and_in_evaluation(tmp_path: Path, *, clean_up: bool) -> None:
    folder = tmp_path / "model"
    keyword.write_tokenizer(folder, [*keyword.WORDS, "."])
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"clean_up_tokenization_spaces": clean_up}))

    tokens = load_tokenizer(folder)
    assert tokens.text(tokens.completions(["w001 ."])[0]) == "w001 ."


def learned_and_said(folder: Path, padding: str) -> dict[str, bytes]:
    """The adapter of a training and its answers, with a tokenizer of this padding token."""
    model = keyword.write_student(folder / "model")
    tokenizer: Any = AutoTokenizer.from_pretrained(str(model))
    tokenizer.add_special_tokens({"pad_token": padding})
    tokenizer.save_pretrained(str(model))
    for name, number in (("seed", 1), ("evaluation", 2)):
        (folder / f"{name}.jsonl").write_bytes(keyword.jsonl(keyword.rows(1, number)))
    run = keyword.Run(
        keyword.spec(
            seed_uri=(folder / "seed.jsonl").as_uri(),
            evaluation_uri=(folder / "evaluation.jsonl").as_uri(),
            model_uri=model.as_uri(),
            artifacts_uri=(folder / "runs").as_uri(),
        )
    )
    store = LocalStore(folder / "runs")
    for stage in (Stage.PREPARE, Stage.TRAIN, Stage.EVALUATE):
        run.add(run_step(run.step(stage), store, StepContext("pod-1", folder / "scratch", progress=lambda _: None)))
    manifest = committed_manifest(store, run.step(Stage.EVALUATE))
    assert manifest is not None
    weights = keyword.adapter_bytes(store, 0)["adapter/adapter_model.safetensors"]
    return {"adapter": weights, "answers": read_object(store, manifest, "predictions.evaluation.jsonl")}


def test_a_padding_token_that_was_added_to_the_tokenizer_alone_does_no_harm(tmp_path: Path) -> None:
    own, added = (learned_and_said(tmp_path / name, token) for name, token in (("own", "<pad>"), ("added", "[PAD]")))
    assert own == added


@pytest.mark.parametrize("setting", ["truncation", "padding"])
def test_fault_60_a_tokenizer_json_that_cuts_or_pads_does_neither_here(
    student: Path, tmp_path: Path, setting: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(student, folder)
    path = folder / "tokenizer.json"
    settings = {
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": 512}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
            "pad_token": "<pad>",
        },
    }  # fmt: skip
    path.write_text(json.dumps(json.loads(path.read_text()) | {setting: settings[setting]}))
    texts = [row["text"] + " <sep>" for row in keyword.rows(2, 3)]

    changed, plain = load_tokenizer(folder), load_tokenizer(student)
    assert changed.prompts(texts) == plain.prompts(texts)
    assert changed.completions(keyword.LABELS) == plain.completions(keyword.LABELS)
