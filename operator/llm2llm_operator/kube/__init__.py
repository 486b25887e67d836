"""Talks to the API server: requests, their rate, decoding, and errors."""
