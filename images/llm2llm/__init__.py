"""LLM2LLM: the shared core, the data plane and the local runner.

LLM2LLM (Lee et al., 2024, arXiv 2403.15042) improves a small student model on a task with little data. This package
implements what a step does and what comes next; it never imports the control plane.
"""

__version__ = "0.1.0"
