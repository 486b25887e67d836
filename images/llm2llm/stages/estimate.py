"""PURE: estimates what a run will take, as far as Prepare can know: optimizer steps, tokens, and the teacher's cost.

How long a GPU needs for it is known only after the first training.
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
"""Number of seed rows whose requests are measured."""


@dataclass(frozen=True)
class Estimate:
    """The expected size of a run.

    Attributes:
        steps: optimizer steps of the first training.
        train_tokens: tokens that go through the model in the first training, including prompts.
        rounds: rounds of generation, if nothing ends the run before `maxIterations`.
        most_rows: rows of one round, if every seed row that is evaluated is wrong.
        request_tokens: tokens sent for one row, counted with the student's tokenizer.
        row_tokens: tokens written for one row.
    """

    steps: int
    train_tokens: int
    rounds: int
    most_rows: int
    request_tokens: int
    row_tokens: int

    def usage_of(self, rows: int) -> Usage:
        """Returns the teacher usage for `rows` rows, if each is accepted the first time."""
        return Usage(
            teacher_requests=rows,
            teacher_input_tokens=rows * self.request_tokens,
            teacher_output_tokens=rows * self.row_tokens,
        )


def estimate(
    spec: AugmentationRunSpec, seeds: Sequence[Example], lengths: Sequence[int], count: Callable[[list[str]], list[int]]
) -> Estimate:
    """Estimates what a run over these seeds will take.

    Args:
        spec: of the run.
        seeds: the seed set.
        lengths: tokens of each seed row, prompt and completion together.
        count: returns the number of tokens of each text.
    """
    parameters, generate = spec.train.hyperparameters, spec.generate
    probing = spec.errors_from == "Probe"
    evaluated = math.ceil(len(seeds) / FOLDS) if probing else len(seeds)
    trained_lengths = lengths[evaluated:] if probing and len(lengths) > evaluated else lengths
    first_plan = plan(
        trained_lengths,
        epochs=parameters.num_train_epochs,
        batch=parameters.effective_batch_size,
        min_steps=spec.train.min_steps,
        seed=spec.random_seed,
        micro_batch=0,
    )
    sampled_seeds = random.Random(spec.random_seed).sample(list(seeds), min(SAMPLED, len(seeds)))  # noqa: S311
    return Estimate(
        steps=first_plan.steps,
        train_tokens=round(first_plan.steps * first_plan.batch * sum(trained_lengths) / len(trained_lengths)),
        rounds=spec.max_iterations - 1,
        most_rows=generate.rows_per_round or generate.examples_per_mistake * evaluated,
        request_tokens=_mean(count([_request_text(spec, seeds, seed) for seed in sampled_seeds])),
        row_tokens=_mean(count([" ".join((*seed.fields.values(), seed.completion)) for seed in sampled_seeds])),
    )


def describe_estimate(found: Estimate, spec: AugmentationRunSpec) -> str:
    """Describes the estimate in one sentence for the report."""
    text = f"the first training takes {found.steps} optimizer steps, {found.train_tokens} tokens"
    if not found.rounds:
        return text
    hundred, all_rows = (found.usage_of(rows) for rows in (100, found.rounds * found.most_rows))
    rounds = f"{found.rounds} round{'s' if found.rounds > 1 else ''}"
    return text + (
        f"; 100 rows from the teacher take about {_tokens(hundred)} tokens{_price(hundred, spec)}, and {rounds} of "
        f"{found.most_rows} rows ({_row_note(spec)}) take about {_tokens(all_rows)}{_price(all_rows, spec)}"
    )


def budget_warning(found: Estimate, spec: AugmentationRunSpec) -> str:
    """Returns a warning if the budget does not even allow a hundred rows, or all of the run if those are fewer."""
    if not found.rounds:
        return ""
    rows = min(100, found.rounds * found.most_rows)
    limit, share = _exceeded_limit(spec.budget, found.usage_of(rows))
    if not limit:
        return ""
    return (
        f"warning: spec.budget.{limit} pays for about {int(rows * share)} of the teacher's rows, and the run may ask "
        f"for {found.rounds * found.most_rows}"
    )


def _exceeded_limit(budget: Budget, least: Usage) -> tuple[str, Decimal]:
    """Returns the limit that does not allow `least`, and which share of it it allows; '' if all do."""
    tokens, money = budget.max_teacher_tokens, budget.max_cost
    if tokens is not None and _tokens(least) > tokens:
        return f"maxTeacherTokens ({tokens})", Decimal(tokens) / _tokens(least)
    price = cost(Spent(least), budget.prices) if budget.prices else Decimal(0)
    if money is not None and price > Decimal(money):
        return f"maxCost ({money})", Decimal(money) / price
    return "", Decimal(1)


def _row_note(spec: AugmentationRunSpec) -> str:
    fixed = spec.generate.rows_per_round or spec.augment_from == "Seed"
    return "the maximum" if fixed else "if every seed row is wrong and every new row is right"


def _request_text(spec: AugmentationRunSpec, seeds: Sequence[Example], seed: Example) -> str:
    """Returns the text of a first request; assumes that the wrong answer in it is as long as the right one."""
    choice = task_of(spec.task).choice
    shown = prompt.examples_to_show(seeds, seed, random.Random(0))  # noqa: S311
    assignment = prompt.Assignment(prompt.Mistake(seed, seed.completion), 1, 1, shown, (), ())
    chat = prompt.messages(assignment, instructions_for(spec.task, spec.generate.instructions), choice=choice)
    return "\n".join(message["content"] for message in chat)


def _mean(counts: Sequence[int]) -> int:
    return round(sum(counts) / max(1, len(counts)))


def _tokens(usage: Usage) -> int:
    return Spent(usage).tokens


def _price(usage: Usage, spec: AugmentationRunSpec) -> str:
    if spec.budget.prices is None:
        return ""
    return f" ({cost(Spent(usage), spec.budget.prices).quantize(Decimal('0.01'))})"
