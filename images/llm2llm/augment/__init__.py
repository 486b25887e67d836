"""From a mistake to a new example: the teacher's prompt, its answer, and the filters. No input or output here."""
