"""Training as a user sees it: the bytes of adapters, and what is left in the store."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.data_plane.bench import STEPS, Bench
from tests.support import keyword

from llm2llm.artifacts.commit import commit
from llm2llm.artifacts.keys import content_key
from llm2llm.errors import IncompatibleArtifacts, MetricInvalid, Terminated, Transient
from llm2llm.loop.stages import step_folder
from llm2llm.records import Example, Report, Stage, to_jsonl
from llm2llm.runtime.context import StepContext
from llm2llm.step import run_step
from llm2llm.storage import LocalStore
from llm2llm.training.callback import CheckpointCallback


@pytest.fixture
def bench(tmp_path: Path, student: Path) -> Bench:
    return Bench(tmp_path, student)


def stop_after(context: StepContext, steps: int) -> Callable[[], float]:
    """A clock that raises SIGTERM's flag after some optimizer steps: each asks for the time when it ends."""
    asked = 0

    def clock() -> float:
        nonlocal asked
        asked += context.seconds.get("load") is not None
        if asked >= steps:
            context.stopping.set()
        return 0.0

    return clock


def markers(store: LocalStore) -> list[str]:
    return [key for key in store.list("iterations/000/train/checkpoints/") if key.endswith("marker.json")]


def test_the_same_seed_gives_the_same_adapter_byte_for_byte(bench: Bench) -> None:
    adapters = []
    for name in ("one", "two"):
        run, store = bench.run(name)
        report = run_step(run.step(Stage.TRAIN), store, bench.context(f"pod-{name}"))
        adapters.append((report.digest, keyword.adapter_bytes(store)))

    assert adapters[0] == adapters[1]


def test_progress_is_told_by_step_loss_rate_and_time_left(bench: Bench) -> None:
    run, store = bench.run("told")
    context = bench.context()
    told: list[dict[str, Any]] = []
    context.progress = lambda event: told.append(dict(event))
    seconds = iter(range(0, 100_000, 3))  # one is told every five seconds
    context.clock = lambda: float(next(seconds))
    report = run_step(run.step(Stage.TRAIN), store, context)

    steps = [event for event in told if "loss" in event]
    assert report.optimizer_steps == 5
    assert [(event["step"], event["steps"]) for event in steps] == [(2, 5), (4, 5), (5, 5)]  # and the last, always
    assert all(0 < event["loss"] < 10 for event in steps)
    assert [event["etaSeconds"] for event in steps] == [9, 3, 0]
    assert {event["rowsPerSecond"] for event in steps} == {round(16 / 3, 1)}
    assert json.loads(json.dumps(steps)) == steps


def test_another_seed_gives_another_adapter(bench: Bench) -> None:
    digests = set()
    for seed in (0, 1):
        run, store = bench.run(f"seed-{seed}", randomSeed=seed)
        digests.add(run_step(run.step(Stage.TRAIN), store, bench.context()).digest)

    assert len(digests) == 2


def test_the_adapter_describes_itself_and_names_no_folder_of_this_machine(bench: Bench) -> None:
    run, store = bench.run("run")
    report = run_step(run.step(Stage.TRAIN), store, bench.context())
    files = keyword.adapter_bytes(store)

    assert {
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
        "adapter/tokenizer.json",
        "adapter/tokenizer_config.json",
        "adapter/prompt_template.jinja",
        "adapter/README.md",
        "rows.json",
    } <= files.keys()
    config = json.loads(files["adapter/adapter_config.json"])
    assert config["base_model_name_or_path"] == str(bench.student)
    assert config["revision"] is None
    assert not any(b"scratch" in content for content in files.values())
    assert files["adapter/prompt_template.jinja"] == b"{{ text }} <sep>"
    assert (report.train_examples, report.optimizer_steps, report.micro_batch) == (40, 5, 16)
    assert report.model_uri == f"{store.uri}/iterations/000/train/data/pod-1/adapter"
    assert markers(store) == []


def test_synthetic_rows_of_earlier_iterations_are_trained_on(bench: Bench) -> None:
    run, store = bench.run("run")
    run.add(run_step(run.step(Stage.TRAIN), store, bench.context()))
    run.add(run_step(run.step(Stage.EVALUATE), store, bench.context()))
    rows = [
        Example(id=f"new-{n}", fields={"text": row["text"]}, completion=row["label"])
        for n, row in enumerate(keyword.rows(1, 9))
    ]
    told = Report(run_uid=run.uid, stage=Stage.GENERATE, kept=len(rows))
    run.add(commit(store, run.step(Stage.GENERATE), bench.context(), {"synthetic.jsonl": to_jsonl(rows)}, told))
    report = run_step(run.step(Stage.TRAIN, 1), store, bench.context())

    assert report.train_examples == 60
    assert json.loads(keyword.adapter_bytes(store, 1)["rows.json"])["examples"] == 60


def test_paid_rows_that_are_too_long_to_train_on_are_told(bench: Bench) -> None:
    run, store = bench.run("run")
    run.add(run_step(run.step(Stage.TRAIN), store, bench.context()))
    run.add(run_step(run.step(Stage.EVALUATE), store, bench.context()))
    short, long = keyword.rows(1, 9)[:2]
    rows = [
        Example(id="short", fields={"text": short["text"]}, completion=short["label"]),
        Example(id="long", fields={"text": long["text"] * 200}, completion=long["label"]),
    ]
    told = Report(run_uid=run.uid, stage=Stage.GENERATE, kept=len(rows))
    run.add(commit(store, run.step(Stage.GENERATE), bench.context(), {"synthetic.jsonl": to_jsonl(rows)}, told))
    report = run_step(run.step(Stage.TRAIN, 1), store, bench.context())

    assert report.train_examples == 41
    assert report.message.startswith("1 synthetic rows are left out of training: they have more than ")


def test_training_may_start_from_the_adapter_of_the_iteration_before(bench: Bench) -> None:
    def second(name: str, rate: str = "", **changes: str) -> tuple[Report, list[dict[str, bytes]]]:
        run, store = bench.run(name, **changes)
        for stage in (Stage.TRAIN, Stage.EVALUATE):
            run.add(run_step(run.step(stage), store, bench.context()))
        generated = Report(run_uid=run.uid, stage=Stage.GENERATE)
        row = Example(id="s0", fields={"text": keyword.rows(1, 3)[0]["text"]}, completion=keyword.LABELS[0])
        run.add(
            commit(store, run.step(Stage.GENERATE), bench.context(), {"synthetic.jsonl": to_jsonl([row])}, generated)
        )
        if rate:
            run.document["train"]["hyperparameters"]["learningRate"] = rate
        step = run.step(Stage.TRAIN, 1)
        assert (step_folder(Stage.TRAIN, 0) in step.parents) == (name != "base")
        report = run_step(step, store, bench.context())
        return report, [keyword.adapter_bytes(store, iteration) for iteration in (0, 1)]

    on_base, _ = second("base")
    continued, weights = second("continued", startFrom="PreviousIteration")
    again, same = second("again", startFrom="PreviousIteration")
    assert continued.digest != on_base.digest
    assert (again.digest, same) == (continued.digest, weights)
    _, (before, after) = second("resting", rate="0", startFrom="PreviousIteration")
    assert after["adapter/adapter_model.safetensors"] == before["adapter/adapter_model.safetensors"]


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "with gradient checkpointing"])
def test_fault_19_a_run_that_goes_on_after_sigterm_ends_with_the_weights_of_an_uninterrupted_one(
    bench: Bench, checkpointing: bool
) -> None:
    train = {
        **keyword.TRAIN,
        "hyperparameters": {**keyword.HYPERPARAMETERS, "numTrainEpochs": 4, "gradientCheckpointing": checkpointing},
    }
    run, store = bench.run("whole", train=train)
    whole = run_step(run.step(Stage.TRAIN), store, bench.context())
    run, store = bench.run("stopped", train=train)
    first = bench.context("pod-1")
    first.clock = stop_after(first, 8)
    with pytest.raises(Terminated, match="a checkpoint is in the store"):
        run_step(run.step(Stage.TRAIN), store, first)
    assert len(markers(store)) == 1
    told: list[dict[str, object]] = []
    second = bench.context("pod-2")
    second.progress = lambda event: told.append(dict(event))
    report = run_step(run.step(Stage.TRAIN), store, second)

    assert [event["resumedFrom"] for event in told if "resumedFrom" in event]
    assert report.digest == whole.digest
    assert report.optimizer_steps == whole.optimizer_steps
    assert markers(store) == []


def test_a_run_that_goes_on_keeps_the_micro_batch_of_its_checkpoint(bench: Bench) -> None:
    """The cut of a step decides which draws of dropout its rows get."""
    run, store = bench.run("large")
    large = run_step(run.step(Stage.TRAIN), store, bench.context())
    run, store = bench.run("small")
    small = run_step(run.step(Stage.TRAIN, micro_batch=3), store, bench.context())
    assert small.digest != large.digest
    run, store = bench.run("stopped")
    first = bench.context("pod-1")
    first.clock = stop_after(first, 5)
    with pytest.raises(Terminated):
        run_step(run.step(Stage.TRAIN, micro_batch=3), store, first)
    assert run_step(run.step(Stage.TRAIN), store, bench.context("pod-2")).digest == small.digest


def test_periodic_checkpoints_change_nothing_and_only_the_newest_are_kept(bench: Bench) -> None:
    run, store = bench.run("plain")
    plain = run_step(run.step(Stage.TRAIN), store, bench.context())
    run, store = bench.run("often", train={**keyword.TRAIN, **STEPS, "checkpoint": {"intervalSeconds": 1, "keep": 2}})
    seen: list[int] = []
    write = store.write

    def watched(key: str, data: bytes) -> None:
        write(key, data)
        if key.endswith("marker.json"):
            seen.append(len(markers(store)))

    store.write = watched  # type: ignore[method-assign]
    context = bench.context()
    ticks = iter(range(10_000))
    context.clock = lambda: float(next(ticks))
    often = run_step(run.step(Stage.TRAIN), store, context)

    assert often.digest == plain.digest
    assert seen == [1, 2, 3, 3]  # the new one is there before the oldest goes


class SlowStore(LocalStore):
    """Holds each file of a checkpoint back until the gate is open."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.gate = threading.Event()
        self.held = threading.Event()

    def upload(self, key: str, path: Path) -> None:
        if "/checkpoints/" in key:
            self.held.set()
            assert self.gate.wait(60), "the training waits for the checkpoint"
        super().upload(key, path)


def test_training_goes_on_while_a_checkpoint_is_on_its_way(bench: Bench) -> None:
    """The files of the first one come into the store only once two more steps are done."""
    run, store = bench.run("plain")
    plain = run_step(run.step(Stage.TRAIN), store, bench.context())
    run, _ = bench.run("slow", train={**keyword.TRAIN, **STEPS, "checkpoint": {"intervalSeconds": 8, "keep": 2}})
    slow = SlowStore(bench.folder / "slow")
    context = bench.context()
    ends = 0

    def clock() -> float:
        """A step is a second long, and the first one is made at the fourth."""
        nonlocal ends
        ends += context.seconds.get("load") is not None
        if slow.held.wait(10 if ends == 5 else 0) and ends >= 6:
            slow.gate.set()
        return float(ends)

    context.clock = clock
    assert run_step(run.step(Stage.TRAIN), slow, context).digest == plain.digest
    assert slow.held.is_set()


def test_training_waits_for_a_checkpoint_that_would_come_too_late(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that takes as long as dozens of steps: what a kill would cost at the end of each stays the interval."""

    class FarStore(LocalStore):
        def upload(self, key: str, path: Path) -> None:
            time.sleep(0.5 if path.name == "optimizer.pt" else 0)
            super().upload(key, path)

    run, _ = bench.run("far", train={**keyword.TRAIN, **STEPS, "checkpoint": {"intervalSeconds": 2, "keep": 1}})
    far = FarStore(bench.folder / "far")
    context = bench.context()
    lost: list[int] = []
    ended = CheckpointCallback.on_step_end

    def step_ends(self: CheckpointCallback, args: Any, state: Any, control: Any, **more: Any) -> None:
        lost.append(state.global_step - max((int(key.split("/")[4].split("-")[0]) for key in markers(far)), default=0))
        ended(self, args, state, control, **more)

    monkeypatch.setattr(CheckpointCallback, "on_step_end", step_ends)
    context.clock = lambda: float(len(lost))  # a step is a second long
    run_step(run.step(Stage.TRAIN), far, context)
    assert max(lost) <= 2, lost


def test_sigterm_waits_until_the_checkpoint_is_in_the_store(bench: Bench) -> None:
    run, _ = bench.run("stopped")
    slow = SlowStore(bench.folder / "stopped")
    context = bench.context()
    context.clock = stop_after(context, 7)
    threading.Timer(3, slow.gate.set).start()
    with pytest.raises(Terminated, match="a checkpoint is in the store"):
        run_step(run.step(Stage.TRAIN), slow, context)
    assert len(markers(slow)) == 1


def test_what_befalls_a_checkpoint_on_its_way_ends_the_training(bench: Bench) -> None:
    class FullStore(LocalStore):
        def upload(self, key: str, path: Path) -> None:
            raise Transient(f"no space for {key}, which is {path.name}")

    run, _ = bench.run("full", train={**keyword.TRAIN, "checkpoint": {"intervalSeconds": 1, "keep": 2}})
    context = bench.context()
    ticks = iter(range(10_000))
    context.clock = lambda: float(next(ticks))
    with pytest.raises(Transient, match="no space for iterations/000/train/checkpoints/"):
        run_step(run.step(Stage.TRAIN), FullStore(bench.folder / "full"), context)


def test_a_checkpoint_that_is_not_whole_is_passed_over(bench: Bench) -> None:
    run, store = bench.run("whole")
    whole = run_step(run.step(Stage.TRAIN), store, bench.context())
    run, store = bench.run("stopped")
    first = bench.context("pod-1")
    first.clock = stop_after(first, 7)
    with pytest.raises(Terminated):
        run_step(run.step(Stage.TRAIN), store, first)
    weights = next(key for key in store.list("iterations/000/train/checkpoints/") if key.endswith("model.safetensors"))
    store.write(weights, store.read(weights)[:100])

    assert run_step(run.step(Stage.TRAIN), store, bench.context("pod-2")).digest == whole.digest


def test_a_checkpoint_of_another_training_is_refused(bench: Bench) -> None:
    run, store = bench.run("run")
    first = bench.context("pod-1")
    first.clock = stop_after(first, 7)
    with pytest.raises(Terminated):
        run_step(run.step(Stage.TRAIN), store, first)
    run.document["train"]["lora"]["r"] = 4

    with pytest.raises(IncompatibleArtifacts, match=r'train.lora: {.*"r":4.*} in this run, {.*"r":8.*} in the store'):
        run_step(run.step(Stage.TRAIN), store, bench.context("pod-2"))


@pytest.mark.parametrize("micro_batch", [1, 3, 5])
def test_the_loss_of_a_step_does_not_depend_on_how_it_is_cut(bench: Bench, micro_batch: int) -> None:
    """The first weights after one step show it: equal gradients, so (nearly) equal weights."""
    import torch
    from safetensors.torch import load

    train = {**keyword.TRAIN, "lora": {"r": 8, "alpha": 16, "dropout": "0"}}
    train["hyperparameters"] = {**keyword.HYPERPARAMETERS, "numTrainEpochs": 1, "weightDecay": "0"}
    adapters = []
    for name, ceiling in (("whole", 0), ("cut", micro_batch)):
        run, store = bench.run(name, train=train)
        report = run_step(run.step(Stage.TRAIN, micro_batch=ceiling), store, bench.context())
        adapters.append(load(keyword.adapter_bytes(store)["adapter/adapter_model.safetensors"]))
        assert report.micro_batch == (ceiling or 16)
        assert report.optimizer_steps == 3

    assert all(torch.allclose(adapters[0][name], adapters[1][name], atol=1e-4) for name in adapters[0])


def test_fault_38_training_that_diverges_fails_and_commits_nothing(bench: Bench) -> None:
    train = {**keyword.TRAIN, "hyperparameters": {**keyword.HYPERPARAMETERS, "learningRate": "1e30"}}
    run, store = bench.run("run", train=train)

    with pytest.raises(MetricInvalid, match="learningRate"):
        run_step(run.step(Stage.TRAIN), store, bench.context())
    assert not [key for key in store.list(step_folder(Stage.TRAIN, 0)) if "checkpoints" not in key]


def test_a_model_that_changed_since_prepare_is_refused(bench: Bench, tmp_path: Path) -> None:
    bench.student = keyword.write_student(tmp_path / "own")
    run, store = bench.run("run")
    keyword.write_student(tmp_path / "own", seed=1)

    with pytest.raises(IncompatibleArtifacts, match="has changed since the run started"):
        run_step(run.step(Stage.TRAIN), store, bench.context())


def test_the_micro_batch_is_no_part_of_what_a_step_is(bench: Bench) -> None:
    run, _ = bench.run("run")
    assert content_key(run.step(Stage.TRAIN, micro_batch=2)) == content_key(run.step(Stage.TRAIN))
