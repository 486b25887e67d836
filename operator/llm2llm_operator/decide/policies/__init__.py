"""One rule a file, all pure and of one shape: inputs and the attempt in, a verdict or nothing out."""
