"""Decides, with pure functions only, what should happen next to a run, from its observed state and the time."""
