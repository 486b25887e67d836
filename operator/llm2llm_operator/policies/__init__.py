"""Decisions, one file each, all pure: facts in, verdict out."""
