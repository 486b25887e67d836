"""Handles base models as files: fetches and identifies them, and loads their tokenizer and weights."""
