"""Keeps a run's artifacts in its store: committed outputs, checkpoints, partial results, and outputs to reuse."""
