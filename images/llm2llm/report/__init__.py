"""Writes views for people, derived from committed output; no step reads them."""
