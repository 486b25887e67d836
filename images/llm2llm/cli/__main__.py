"""Runs the command line with `python -m llm2llm.cli`."""

from llm2llm.cli.start import main

raise SystemExit(main())
