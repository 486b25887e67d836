"""PURE: what a run will take, as far as Prepare can know: optimizer steps, tokens, and what the teacher may cost.

How long a GPU needs for that is known after the first training, and nowhere before.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from llm2llm.api.policy import Budget
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.augment import prompt
from llm2llm.budget import Spent, cost
from llm2llm.loop.probing import FOLDS
from llm2llm.records import Example, Usage
from llm2llm.tasks import task_of
from llm2llm.tasks.presets import instructions_for
from llm2llm.training.plan import plan

SAMPLED = 20
"""Seed rows whose requests are counted."""


@dataclass(frozen=True)
class Estimate:
    """What is to come.

    Attributes:
        steps: optimizer steps of the first training.
        train_tokens: tokens that go through the model in it, prompts included.
        rounds: rounds of generation, if nothing ends the run before `maxIterations`.
        most_rows: rows of one round, if every seed row that is asked were wrong.
        request_tokens: sent for one row, counted with the student's tokenizer.
        row_tokens: written for one row.
    """

    steps: int
    train_tokens: int
    rounds: int
    most_rows: int
    request_tokens: int
    row_tokens: int

    def usage_of(self, rows: int) -> Usage:
        """What so many rows take from the teacher, if each is right the first time."""
        return Usage(
            teacher_requests=rows,
            teacher_input_tokens=rows * self.request_tokens,
            teacher_output_tokens=rows * self.row_tokens,
        )


def estimate(
    spec: AugmentationRunSpec, seeds: Sequence[Example], lengths: Sequence[int], count: Callable[[list[str]], list[int]]
) -> Estimate:
    """What a run over these seeds will take.

    Args:
        spec: the run's.
        seeds: its seed set.
        lengths: tokens of each seed row, prompt and completion together.
        count: texts to numbers of tokens.
    """
    parameters, generate = spec.train.hyperparameters, spec.generate
    probing = spec.errors_from == "Probe"
    asked = math.ceil(len(seeds) / FOLDS) if probing else len(seeds)
    trained = lengths[asked:] if probing and len(lengths) > asked else lengths
    first = plan(
        trained,
        epochs=parameters.num_train_epochs,
        batch=parameters.effective_batch_size,
        min_steps=spec.train.min_steps,
        seed=spec.random_seed,
        micro_batch=0,
    )
    drawn = random.Random(spec.random_seed).sample(list(seeds), min(SAMPLED, len(seeds)))  # noqa: S311
    return Estimate(
        steps=first.steps,
        train_tokens=round(first.steps * first.batch * sum(trained) / len(trained)),
        rounds=spec.max_iterations - 1,
        most_rows=generate.rows_per_round or generate.examples_per_mistake * asked,
        request_tokens=_mean(count([_request(spec, seeds, seed) for seed in drawn])),
        row_tokens=_mean(count([" ".join((*seed.fields.values(), seed.completion)) for seed in drawn])),
    )


def describe_estimate(found: Estimate, spec: AugmentationRunSpec) -> str:
    """One sentence for the report."""
    told = f"the first training takes {found.steps} optimizer steps, {found.train_tokens} tokens"
    if not found.rounds:
        return told
    hundred, all_rows = (found.usage_of(rows) for rows in (100, found.rounds * found.most_rows))
    told += (
        f"; 100 rows from the teacher take about {_tokens(hundred)} tokens{_money(hundred, spec)}, and {found.rounds} "
        f"rounds of {found.most_rows} rows ({_how_many(spec)}) take about {_tokens(all_rows)}{_money(all_rows, spec)}"
    )
    return told + _beyond(spec.budget, min(hundred, all_rows, key=_tokens))


def _beyond(budget: Budget, least: Usage) -> str:
    """The limit that will not do even for `least`: a hundred rows, or all that there can be where they are fewer."""
    if budget.max_teacher_tokens is not None and _tokens(least) > budget.max_teacher_tokens:
        return f": more than spec.budget.maxTeacherTokens ({budget.max_teacher_tokens}) allows"
    if budget.max_cost is not None and budget.prices and cost(Spent(least), budget.prices) > Decimal(budget.max_cost):
        return f": more than spec.budget.maxCost ({budget.max_cost}) allows"
    return ""


def _how_many(spec: AugmentationRunSpec) -> str:
    fixed = spec.generate.rows_per_round or spec.augment_from == "Seed"
    return "the maximum" if fixed else "if every seed row is wrong and every new row is right"


def _request(spec: AugmentationRunSpec, seeds: Sequence[Example], seed: Example) -> str:
    """The text of a first request; the wrong answer that it shows is taken to be as long as the right one."""
    choice = task_of(spec.task).choice
    shown = prompt.examples_to_show(seeds, seed, random.Random(0))  # noqa: S311
    assignment = prompt.Assignment(prompt.Mistake(seed, seed.completion), 1, 1, shown, (), ())
    told = prompt.messages(assignment, instructions_for(spec.task, spec.generate.instructions), choice=choice)
    return "\n".join(message["content"] for message in told)


def _mean(counts: Sequence[int]) -> int:
    return round(sum(counts) / max(1, len(counts)))


def _tokens(usage: Usage) -> int:
    return Spent(usage).tokens


def _money(usage: Usage, spec: AugmentationRunSpec) -> str:
    if spec.budget.prices is None:
        return ""
    return f" ({cost(Spent(usage), spec.budget.prices).quantize(Decimal('0.01'))})"
