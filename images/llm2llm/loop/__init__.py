"""Decides, with pure functions, which step comes next, when a run ends, and which iteration is best."""
