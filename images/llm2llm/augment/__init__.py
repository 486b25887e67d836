"""Turns a mistake into a new example: builds the prompt, parses the answer, filters the row. Does no I/O."""
