"""PURE: finds what is too small for a run to tell anything: sets, answers, and budgets (stage Prepare)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

FEWEST_SEEDS = 20
"""Seed rows below which a warning is due: the few that there are will be memorized."""
FEWEST_HELD_OUT = 50
"""Rows of an evaluation or test set below which a warning is due: its 95 % interval is wider than .13 either way."""
_ADVISED = {"seed": 100, "evaluation": 200, "test": 200}


def size_warnings(sizes: Mapping[str, int]) -> Iterator[str]:
    """Yields a warning for each set that is too small; `sizes` has the number of rows by the name of the set."""
    for name, rows in sizes.items():
        if rows >= (FEWEST_SEEDS if name == "seed" else FEWEST_HELD_OUT):
            continue
        count = f"{rows} row{'s' if rows > 1 else ''}"
        consequence = (
            "which the student memorizes instead of learning the task"
            if name == "seed"
            else f"so one row more or less is {1 / rows:.2g} of the score, and smaller differences mean nothing"
        )
        yield f"warning: data.{name} has only {count}, {consequence}: use {_ADVISED[name]} or more"


def limit_problem(limit: int, lengths: Sequence[int], *, of_preset: bool = False) -> str:
    """Returns why no answer can be right under a limit of tokens; '' if some can, or if there is no limit.

    Args:
        limit: of an answer, its end included; 0 if there is none.
        lengths: tokens of the right answers, their end included.
        of_preset: spec.task.preset sets the limit, and the spec does not.
    """
    if not limit or not lengths or limit >= min(lengths):
        return ""
    longest = max(lengths)
    what, advice = (
        (f"the preset's limit of {limit} tokens", f"set spec.evaluate.sampling.maxTokens to {longest} or more")
        if of_preset
        else (f"spec.evaluate.sampling.maxTokens: {limit}", f"set {longest} or more, or leave it out")
    )
    return (
        f"{what} cuts every right answer off, which then counts as wrong: the shortest has {min(lengths)} tokens with "
        f"its end, the longest {longest}; {advice}"
    )


def limit_warning(limit: int, lengths: Sequence[int], *, of_preset: bool = False) -> str:
    """Returns a warning if a limit cuts some right answers off; '' if it cuts none. Takes what `limit_problem` does."""
    longer = sum(length > limit for length in lengths) if limit else 0
    if not longer:
        return ""
    longest = max(lengths)
    what, advice = (
        (f"the preset's limit of {limit} tokens", f": set spec.evaluate.sampling.maxTokens to {longest}")
        if of_preset
        else (f"spec.evaluate.sampling.maxTokens {limit}", "")
    )
    return (
        f"warning: {what} cuts {longer} of {len(lengths)} right answers off, which then count as wrong: the longest "
        f"has {longest} tokens with its end{advice}"
    )
