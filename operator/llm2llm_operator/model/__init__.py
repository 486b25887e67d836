"""Typed inputs of decisions: the run, its status, and the observed Jobs and pods."""
