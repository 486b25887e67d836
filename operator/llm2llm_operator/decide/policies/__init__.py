"""One rule per file, all pure and of one shape: each takes the inputs and the status, and returns a verdict or None."""
