"""Decisions, all pure: what should happen next to a run, given what was seen of it and the time."""
