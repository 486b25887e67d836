"""The control plane: watches AugmentationRuns and creates the Jobs of each iteration (observe, plan, apply)."""
