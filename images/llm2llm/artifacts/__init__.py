"""What a run has in its store: committed outputs, checkpoints, partial results, and what may be used again."""
