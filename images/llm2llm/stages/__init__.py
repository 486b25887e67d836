"""The stages of an iteration: each is `run(step, store, context) -> Report`."""
