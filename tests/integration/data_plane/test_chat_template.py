"""A student with a chat template is asked in its own words, in Prepare, in training and in evaluation alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.integration.data_plane.bench import Bench
from tests.support import keyword

from llm2llm.artifacts.committed import committed_manifest, read_object
from llm2llm.errors import ConfigurationError
from llm2llm.models.tokenizer import check_chat_template, load_tokenizer
from llm2llm.records import Stage
from llm2llm.step import run_step

TEMPLATE = "{% for turn in messages %}{{ turn.content }}{% endfor %}{% if add_generation_prompt %} <sep>{% endif %}"
"""So that the user's turn alone gives what the other tests write into their prompt template."""


def with_template(student: Path, target: Path, template: str) -> Path:
    shutil.copytree(student, target)
    (target / "chat_template.jinja").write_text(template)
    return target


@pytest.fixture
def chatty(student: Path, tmp_path: Path) -> Path:
    return with_template(student, tmp_path / "chatty", TEMPLATE)


def test_a_prompt_is_the_users_turn_up_to_where_the_model_answers(student: Path, chatty: Path) -> None:
    bare = load_tokenizer(student)
    texts = [row["text"] for row in keyword.rows(2, 3)]
    expected = bare.prompts([f"{text} <sep>" for text in texts])

    assert load_tokenizer(chatty).prompts(texts) == expected
    assert load_tokenizer(chatty).completions(keyword.LABELS) == bare.completions(keyword.LABELS)


def test_a_conversation_is_rendered_whole_and_one_turn_of_it_as_a_prompt(student: Path, chatty: Path) -> None:
    tokens = load_tokenizer(chatty)
    assert tokens.conversation
    user, system = ({"role": role, "content": text} for role, text in (("user", "w001"), ("system", "w002 ")))
    assert tokens.encode([tokens.conversation([user])], False) == tokens.prompts(["w001"])
    assert tokens.conversation([system, user]) == "w002 w001 <sep>"
    assert load_tokenizer(student).conversation is None
    assert load_tokenizer(chatty, chat=False).conversation is None


def test_never_gives_the_bare_prompt(student: Path, chatty: Path) -> None:
    texts = [row["text"] for row in keyword.rows(2, 3)]
    assert load_tokenizer(chatty, chat=False).prompts(texts) == load_tokenizer(student).prompts(texts)


def test_a_template_in_the_tokenizers_config_counts_as_well(student: Path, tmp_path: Path) -> None:
    folder = tmp_path / "older"
    shutil.copytree(student, folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": TEMPLATE}))

    assert load_tokenizer(folder).prompts(["w001"]) == load_tokenizer(student).prompts(["w001 <sep>"])


DATED = (
    "{%- macro today() %}{{ strftime_now('w0%d w0%y') }}{% endmacro %}"
    "{%- if strftime_now is defined %}{{ strftime_now('w0%m') }} {% endif %}{{ today() }} {{ messages[0].content }}"
)


def test_a_template_that_asks_for_the_date_gives_the_same_prompt_on_every_day(student: Path, tmp_path: Path) -> None:
    folder = with_template(student, tmp_path / "dated", DATED)

    assert load_tokenizer(folder).prompts(["w001"]) == load_tokenizer(student).prompts(["w007 w026 w024 w001"])


@pytest.mark.parametrize(
    ("template", "words"),
    [
        pytest.param("{{ raise_exception('tools are required') }}", "tools are required", id="one that refuses"),
        pytest.param("{% if %}", "cannot render a user message", id="one that is no template"),
        pytest.param("hello", "omits or changes the user message", id="one without the turn"),
        pytest.param(
            "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'text' %}{{ c['text'] }}{% endif %}"
            "{% endfor %}{% endfor %}",
            "omits or changes the user message",
            id="one that takes the parts of a turn, and loses a plain string",
        ),
        pytest.param("{{ messages[0].content[:20] }}", "omits or changes", id="one that cuts the turn"),
        pytest.param("{{ messages[0].content | lower }}", "omits or changes", id="one that changes the turn"),
        pytest.param("x {{ messages[0].role }}", "omits or changes", id="one that has letters of its own"),
        pytest.param("{{ messages[1].content }}", "omits or changes|cannot render", id="one that wants two turns"),
        pytest.param("{{ messages[0].content.foo.bar }}", "cannot render", id="one that wants an object"),
    ],
)
def test_fault_60_a_template_that_cannot_ask_is_told_before_a_gpu_is_asked_for(
    student: Path, tmp_path: Path, template: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        check_chat_template(load_tokenizer(with_template(student, tmp_path / "broken", template)))
    assert "spec.task.chatTemplate: Never" in caught.value.message


def test_training_and_evaluation_see_what_a_run_without_a_template_writes_out(
    student: Path, chatty: Path, tmp_path: Path
) -> None:
    outputs = []
    for folder, template in ((student, "{{ text }} <sep>"), (chatty, "{{ text }}")):
        (tmp_path / f"of-{folder.name}").mkdir()
        bench = Bench(tmp_path / f"of-{folder.name}", folder)
        task = {"promptTemplate": template, "grader": {"type": "Choice"}, "labels": keyword.LABELS}
        run, store = bench.run("run", task=task)
        for stage in (Stage.TRAIN, Stage.EVALUATE):
            run.add(run_step(run.step(stage), store, bench.context(f"pod-{stage}")))
        trained, scored = (
            committed_manifest(store, run.step(Stage.TRAIN)),
            committed_manifest(store, run.step(Stage.EVALUATE)),
        )
        assert trained
        assert scored
        outputs.append([read_object(store, trained, "rows.json"), read_object(store, scored, "predictions.seed.jsonl")])
    assert outputs[0] == outputs[1]
