"""Builds what is written to the API server, as documents: Jobs, their pods, Events. Pure."""
