"""`llm2llm serve`: answers with a student here, to try it out, or prints the manifest that serves it in a cluster."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from llm2llm.cli.requirements import describe_missing, missing_modules
from llm2llm.cli.results import Endpoint, Index, reading
from llm2llm.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm2llm.results.student import LocatedStudent
    from llm2llm.serving.predictor import Predictor


class Server(StrEnum):
    """What serves models in a cluster."""

    VLLM = "vllm"
    KSERVE = "kserve"


Target = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run (a work folder of `llm2llm run`, its root in a store, its name on a cluster), or a folder that "
        "`llm2llm fetch` wrote.",
        show_default=False,
    ),
]


def serve(
    target: Target,
    iteration: Index = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 is any that is free.")] = 8000,
    manifest: Annotated[
        Server | None,
        typer.Option(
            help="Print a manifest instead: a Deployment and a Service for vLLM, or an InferenceService of KServe.",
            show_default=False,
        ),
    ] = None,
    endpoint: Endpoint = "",
) -> None:
    """Serve the best student here, to try it out: rows by the run's own template, and the OpenAI API's completions.

    One request is answered at a time, by transformers, on the GPU if there is one. This is not for production:
    --manifest prints what serves the student in a cluster.

    Example: llm2llm serve out --port 8000
    """
    from llm2llm.results.student import find_student

    if manifest:
        from llm2llm.serving.servingmanifests import serving_manifest

        with reading():
            print(serving_manifest(find_student(target, iteration, endpoint, os.environ), manifest.value), end="")
        return
    if missing := missing_modules():
        print(describe_missing(missing), file=sys.stderr)
        raise typer.Exit(ExitCode.BAD_CONFIGURATION)
    from llm2llm.serving.endpoint import StudentServer
    from llm2llm.serving.predictor import load_predictor

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with reading(), TemporaryDirectory(prefix="llm2llm-serve-") as scratch:
            student = find_student(target, iteration, endpoint, os.environ)
            with StudentServer(host, port) as server:  # a port that is taken is told before the student is loaded
                server.student = load_predictor(student, endpoint, os.environ, Path(scratch))
                print("\n".join(_greeting(student, server.student, server.url)), flush=True)
                server.serve_forever()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)


def _greeting(student: LocatedStudent, loaded: Predictor, url: str) -> Iterator[str]:
    """Yields what is said once the student answers."""
    import torch

    from llm2llm.loop.outcomes import describe_iteration

    record = loaded.record
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"
    yield f"{record.namespace}/{record.run}, {describe_iteration(record.iteration)}, on {device}: {url}"
    yield "for trying it out: one request at a time, no authentication, not for production (see --manifest)"
    if student.run and student.run.view().spec.evaluate.resolved_engine() == "vLLM":
        yield "the run was scored by vLLM, and this is transformers: a few answers may differ in bf16"
    yield ""
    yield "a row, by the run's own template:"
    yield f"    {_curl(url, '/predict', dict(loaded.example))}"
    prompt = loaded.task.render(loaded.example)
    if loaded.tokens.conversation:
        yield "the same prompt, by the OpenAI API:"
        messages = [{"role": "user", "content": prompt}]
        yield f"    {_curl(url, '/v1/chat/completions', {'model': record.run, 'messages': messages})}"
    else:
        yield "the same prompt, by the OpenAI API, which applies no template:"
        yield f"    {_curl(url, '/v1/completions', {'model': record.run, 'prompt': prompt})}"


def _curl(url: str, path: str, body: object) -> str:
    """Returns a line for a shell."""
    text = shlex.quote(json.dumps(body))
    return f"curl -s {url}{path} -H 'Content-Type: application/json' -d {text}"
