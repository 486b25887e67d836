"""Reads what a round of generation begins with from what the run has committed; who judges it anew reads the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from llm2llm.augment import prompt
from llm2llm.data.rows import EVALUATION, SEED, SYNTHETIC, TEST, predictions_in, read_examples
from llm2llm.loop.stages import INPUTS, step_folder
from llm2llm.records import POOL, Example, Manifest, Stage, total_usage
from llm2llm.stages.round import RoundInputs
from llm2llm.storage import Store


def read_inputs(store: Store, iteration: int, manifest_of: Callable[[str], Manifest]) -> RoundInputs:
    """Returns the inputs of the round of an iteration.

    Args:
        store: the run's.
        iteration: of the round.
        manifest_of: returns what is committed in the folder of a step.

    Raises:
        IncompatibleArtifacts: something is missing or damaged.
    """
    inputs_manifest = manifest_of(INPUTS)
    seeds = read_examples(store, inputs_manifest, SEED)
    evaluated = manifest_of(step_folder(Stage.EVALUATE, iteration))
    earlier = [manifest_of(step_folder(Stage.GENERATE, number)) for number in range(iteration)]
    synthetic = [row for manifest in earlier for row in read_examples(store, manifest, SYNTHETIC)]
    by_seed: dict[str, list[Example]] = defaultdict(list)
    for row in synthetic:
        by_seed[row.root].append(row)
    return RoundInputs(
        seeds=seeds,
        held_out=[row for name in (EVALUATION, TEST) for row in read_examples(store, inputs_manifest, name)],
        mistakes=_mistakes(store, evaluated, [*seeds, *synthetic]),
        synthetic=synthetic,
        paid=total_usage(*(manifest.report.usage for manifest in (inputs_manifest, *earlier))),
        by_seed=by_seed,
    )


def _mistakes(store: Store, evaluated: Manifest, rows: Sequence[Example]) -> list[prompt.Mistake]:
    """Returns the rows that the student answered wrong, the seed rows first."""
    outputs = {
        prediction.id: prediction.output
        for dataset in POOL
        for prediction in predictions_in(store, evaluated, dataset)
        if not prediction.correct
    }
    return [prompt.Mistake(row, outputs[row.id]) for row in rows if row.id in outputs]
