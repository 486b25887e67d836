"""The typed AugmentationRun, one file per part of its spec; each CEL rule is next to the validator that it mirrors."""
