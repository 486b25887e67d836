"""The stages of an iteration; each has a function `run(step, store, context) -> StageResult`."""
