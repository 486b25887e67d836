"""`llm2llm verify`: reads everything that a run has committed, and tells what was changed or lost."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from llm2llm.cli.manifests import print_problems
from llm2llm.errors import InvalidManifest, StepError
from llm2llm.plaintext import plain_lines


def verify(
    target: Annotated[
        str,
        typer.Argument(
            help="Root of a run (s3://, file:// or a path; status.artifactsUri has it), a work folder, a model cache, "
            "or a file with the run as `kubectl get arun NAME -o yaml` prints it, whose digests are then compared too.",
            show_default=False,
        ),
    ],
    endpoint: Annotated[str, typer.Option(help="URL of an S3 server other than AWS.")] = "",
) -> None:
    """Read all committed outputs and compare them with their hashes.

    The keys of a bucket come from the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    """
    from llm2llm.results.verify import verify_target

    try:
        raise typer.Exit(verify_target(target, endpoint, os.environ))
    except InvalidManifest as error:
        raise print_problems(error) from None
    except StepError as error:
        print(plain_lines(error.message), file=sys.stderr)
        raise typer.Exit(error.exit_code) from None
