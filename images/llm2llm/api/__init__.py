"""The typed AugmentationRun, one file for each part of its spec; a CEL rule stands beside the validator it mirrors."""
