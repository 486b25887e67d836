"""Base models as files: where they come from, what they are, and how their tokenizer and weights are loaded."""
