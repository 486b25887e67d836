"""Answers with a student: here over HTTP, or in a cluster by a manifest for vLLM."""
