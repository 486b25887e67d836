"""A tiny cluster for tests of `plan`: it does what plans ask for and lets a test end Jobs as it likes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.records import Paired, Report, Stage, StepDocument
from llm2llm_operator.constants import ANNOTATION_SETTINGS
from llm2llm_operator.decide.actions import Plan
from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.decide.plan import plan
from llm2llm_operator.model.observation import Event, Job, Observation, Pod
from llm2llm_operator.model.status import RunStatus
from llm2llm_operator.model.workload import Workload
from tests.support import builders

LONGEST = {
    "metrics": tuple(
        builders.accuracy(0.7, dataset, 10**7).model_copy(update={"name": name})
        for dataset in ("seed", "synthetic", "evaluation")
        for name in ("accuracy", "macroF1")
    ),
    "paired": Paired(against=63, dataset="evaluation", examples=10**7, gained=10**6, lost=10**6),
    "learned": 10**6,
    "forgotten": 10**6,
}
"""As much as an evaluation can tell."""
IMAGES = {stage.value.lower(): f"image/{stage.value.lower()}" for stage in Stage}


@dataclass
class World:
    """One run and its Jobs; `step()` is one pass of the operator."""

    spec: dict[str, Any] = field(default_factory=builders.spec)
    status: dict[str, Any] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    pods: dict[str, list[Pod]] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    writes: int = 0
    seconds: float = 0.0
    events: tuple[Event, ...] = ()
    workloads: tuple[Workload, ...] | None = None
    generation: int = 1
    _seen: dict[str, Any] | None = None

    def facts(self, confirmed_deleted: frozenset[str] = frozenset()) -> Inputs:
        if self._seen is not None and self._seen is not self.spec:  # a new document is an edit
            self.generation += 1
        self._seen = self.spec
        run = replace(builders.run(self.status), spec=self.spec, generation=self.generation)
        return Inputs(
            run=run,
            spec=AugmentationRunSpec.model_validate(self.spec),
            seen=Observation(tuple(self.jobs.values()), tuple(p for pods in self.pods.values() for p in pods)),
            now=builders.NOW + timedelta(seconds=self.seconds),
            images=IMAGES,
            backoff_base=10.0,
            confirmed_deleted=confirmed_deleted,
            events=self.events,
            reads_workloads=self.workloads is not None,
            workloads=self.workloads if self.current_is_suspended() else None,
        )

    def decide(self) -> Plan:
        """What a pass would do now; a Job that is not here is really gone."""
        status = RunStatus.model_validate(self.status)
        decided = plan(self.facts(), status)
        if decided.confirm_deleted:
            decided = plan(self.facts(confirmed_deleted=frozenset({decided.confirm_deleted})), status)
        return decided

    def step(self) -> Plan:
        """One pass: decides and does it."""
        decided = self.decide()
        status = decided.status.to_document()
        self.writes += status != self.status
        self.status = status
        if decided.create:
            name = decided.create["metadata"]["name"]
            if name not in self.jobs:
                self.created.append(decided.create)
                settings = decided.create["metadata"]["annotations"][ANNOTATION_SETTINGS]
                self.jobs[name] = builders.job(name, settings=settings)
                self.pods[name] = []
        for job in decided.delete:
            self.vanish(job.name)
        return decided

    def settle(self) -> Plan:
        """Passes until nothing changes."""
        for _ in range(10):
            before = (self.status, len(self.created), sorted(self.jobs))
            decided = self.step()
            if before == (self.status, len(self.created), sorted(self.jobs)):
                return decided
        raise AssertionError("plan asks for something new in every pass")

    @property
    def current(self) -> str:
        """Name of the Job in progress."""
        return str(self.status["currentStep"]["jobName"])

    def current_is_suspended(self) -> bool:
        """Whether the Job in progress is."""
        job = self.jobs.get((self.status.get("currentStep") or {}).get("jobName", ""))
        return job is not None and job.suspended

    def vanish(self, name: str) -> None:
        """Somebody deletes a Job."""
        self.jobs.pop(name, None)
        self.pods.pop(name, None)

    def start(self) -> None:
        """The container of the current Job starts."""
        self.pods[self.current] = [builders.pod(self.jobs[self.current], running=True)]

    def end(self, exit_code: int = 0, report: Report | str | None = None, **pod: Any) -> None:
        """The current Job ends with this exit code and termination message."""
        message = report if isinstance(report, str) else report.to_termination_message() if report else ""
        name = self.current
        self.jobs[name] = replace(self.jobs[name], complete=exit_code == 0, failed=exit_code != 0)
        self.pods[name] = [builders.pod(self.jobs[name], exit_code=exit_code, message=message, **pod)]

    def succeed(self, **changes: Any) -> None:
        """The current step ends well."""
        step = self.status["currentStep"]
        self.end(0, builders.report(Stage(step["stage"]), step["iteration"], **changes))

    def condition(self, kind: str) -> dict[str, Any]:
        """A condition of the run."""
        return next((c for c in self.status.get("conditions", []) if c["type"] == kind), {})


def longest_status() -> dict[str, Any]:
    """Of a run that ended after 64 iterations whose evaluations told all that they can; one pass for each step."""
    world = World(spec=builders.spec(maxIterations=64))
    for _ in range(400):
        world.step()
        if world.status["phase"] == "Succeeded":
            break
        world.succeed(**LONGEST if world.status["currentStep"]["stage"] == "Evaluate" else {})
    return world.status


def stages_of(world: World) -> list[str]:
    """The Jobs that were created, without the name of the run: `i000-train-a0`."""
    return [body["metadata"]["name"].split("-", 2)[2] for body in world.created]


def run_to_the_end(world: World, limit: int = 40) -> None:
    """All steps succeed until the run ends."""
    for _ in range(limit):
        world.settle()
        if world.status["phase"] in ("Succeeded", "Failed"):
            return
        world.start()
        world.settle()
        world.succeed()
    raise AssertionError("the run does not end")


def document(world: World) -> StepDocument:
    """What the newest Job tells its step."""
    container = world.created[-1]["spec"]["template"]["spec"]["containers"][0]
    return StepDocument.model_validate_json(next(e["value"] for e in container["env"] if e["name"] == "LLM2LLM_STEP"))


def with_test_set(**changes: object) -> World:
    """A run that has a test set."""
    spec = builders.spec(**changes)
    spec["data"]["test"] = {"uri": "s3://b/test.jsonl"}
    return World(spec=spec)


def at_train(**changes: object) -> World:
    """A run whose first training has a Job and no pod yet."""
    world = World(spec=builders.spec(**changes))
    world.settle()
    world.succeed()
    world.settle()
    return world


def training(**changes: object) -> World:
    """A run whose first training runs since `builders.NOW`."""
    world = at_train(**changes)
    world.start()
    world.settle()
    return world
