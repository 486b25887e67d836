"""Runs the command line with `python -m llm2llm.cli`."""

from llm2llm.cli.main import main

raise SystemExit(main())
