"""Rows: how they are read, split and sampled, and how they become token ids."""
