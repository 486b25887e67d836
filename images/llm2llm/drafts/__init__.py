"""Drafts a manifest for a table of examples (`llm2llm init`)."""
