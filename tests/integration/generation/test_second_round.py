"""What a round knows of the rounds before it: nothing of theirs is written again, and the teacher is shown it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.integration.generation import rounds
from tests.support.chatserver import ChatServer

from llm2llm.artifacts.commit import commit
from llm2llm.artifacts.committed import manifest_in, read_object
from llm2llm.loop.stages import INPUTS, step_folder
from llm2llm.records import Example, Prediction, Report, Stage, to_jsonl
from llm2llm.runtime.context import Step
from llm2llm.step import run_step
from llm2llm.storage import Store

WORDS = [f"word{number}" for number in range(10)]
FIRST, OTHER = " ".join(WORDS), "something else for the other example to practise with"
NEAR = " ".join([*WORDS[:-1], "changed"])


def scripted(script: Mapping[str, list[str]], asked: dict[str, list[str]]) -> ChatServer:
    """Returns a teacher that writes what a test wants written: for each seed id these sentences, one after the other.

    The example's teacher writes what the task asks for, and nothing near to what it wrote before.

    Args:
        script: seed id to sentences.
        asked: gets the prompts.
    """
    texts = {seed.id: json.dumps(seed.fields) for seed in rounds.seed_rows() if seed.id in script}

    def answer(body: Mapping[str, Any]) -> tuple[int, str]:
        prompt = body["messages"][-1]["content"]
        seed = next(name for name, text in texts.items() if f"got this one wrong:\n{text}" in prompt)
        sentence = script[seed][len(asked.setdefault(seed, []))]
        asked[seed].append(prompt)
        return 200, json.dumps({"prompt": sentence})

    return ChatServer(answer)


def second(store: Store, first: Step, wrong: list[Example]) -> Step:
    """Commits an evaluation in which these are wrong again; the generation step that follows it."""
    before = step_folder(Stage.GENERATE, 0)
    manifest = manifest_in(store, before)
    assert manifest
    parents = {INPUTS: first.parents[INPUTS], before: manifest.digest}
    evaluate = replace(first, stage=Stage.EVALUATE, iteration=1, parents=parents)
    predictions = [Prediction(id=row.id, output="label19", correct=False, verdict="wrong") for row in wrong]
    evaluated = commit(
        store,
        evaluate,
        rounds.context_for("pod-a", Path()),
        {"predictions.seed.jsonl": to_jsonl(predictions)},
        Report(run_uid="uid", stage=Stage.EVALUATE, iteration=1),
    )
    parents[step_folder(Stage.EVALUATE, 1)] = evaluated.digest
    return replace(first, iteration=1, parents=parents)


def test_what_a_round_before_kept_is_shown_for_its_seed_and_refused_for_any(tmp_path: Path):
    seeds = rounds.seed_rows()
    one, two = seeds[0], seeds[3]
    asked: dict[str, list[str]] = {}
    script = {
        one.id: [FIRST, NEAR, "a new sentence at last"],
        two.id: [OTHER, FIRST, "this one differs from them all"],
    }
    with scripted(script, asked) as teacher:
        spec = rounds.spec_for(teacher.base_url, samples=1)
        spec["generate"]["filters"] = {"dedup": {"threshold": "0.85"}}
        store, first = rounds.prepared(tmp_path, spec, mistakes=2)
        assert run_step(first, store, rounds.context_for("pod-a", tmp_path)).kept == 2
        report = run_step(second(store, first, [one, two]), store, rounds.context_for("pod-b", tmp_path))

    assert (report.kept, report.generated) == (2, 4)
    manifest = manifest_in(store, step_folder(Stage.GENERATE, 1))
    assert manifest
    refused = [json.loads(line) for line in read_object(store, manifest, "rejected.jsonl").splitlines()]
    written = f"s0-{one.id}-1"
    assert [(row["id"], row["reason"], row["detail"]) for row in refused] == [
        (f"s1-{one.id}-1", "nearDuplicate", f"ROUGE-L 0.900 to {written}"),
        (f"s1-{two.id}-1", "copy", f"equals {written}"),
    ]

    title = "Written for it before, do not repeat these:\n"
    for seed, own in ((one, FIRST), (two, OTHER)):
        before, now = asked[seed.id][:2]
        assert title not in before
        assert f"{title}{json.dumps({'prompt': own})}\n\n" in now
