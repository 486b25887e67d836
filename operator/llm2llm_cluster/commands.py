"""`llm2llm get`, `why`, `logs`, `wait` and the verbs that change a run on a cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer

from llm2llm.cli.output import Format, Output, print_rows
from llm2llm.cli.results import Index, reading
from llm2llm.kubeyaml import dump
from llm2llm.plaintext import plain
from llm2llm_cluster.bundle import bundle
from llm2llm_cluster.options import Context, Name, Namespace
from llm2llm_cluster.options import open_cluster as _cluster
from llm2llm_cluster.watch import watch

Stage = Annotated[str | None, typer.Option("--stage", "-s", help="A stage, e.g. Train.", show_default=False)]

Force = Annotated[bool, typer.Option("--force", help="Make the change even if Argo CD or Flux may revert it.")]

Decide = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Returns the fields of a run's spec to change, and their values."""

_POLL_SECONDS = 5.0
_TRIES = 5
"""Tries to change a run whose status the operator writes at the same time."""


def commands() -> list[Callable[..., None]]:
    """Returns the commands for runs on a cluster; the command line finds them by an entry point."""
    return [get, why, watch, logs, wait, suspend, resume, retry, approve, topup, bundle]


def get(name: Name, namespace: Namespace = None, context: Context = None, output: Output = Format.TABLE) -> None:
    """Show a run: its iterations, what it does or waits for, and where its results are.

    Example: llm2llm get tickets -n ml
    """
    from llm2llm_cluster import words

    with reading():
        run = _cluster(context, namespace).get(name)
        if output is Format.JSON:
            print(json.dumps(run, indent=2))
            return
        print_rows(words.iteration_rows(run), output, "No iteration has begun.", words.iteration_columns(run))
        if output is Format.TABLE:
            print()
            _print_explanation(run)
            for fact, value in words.facts(run):
                print(f"{fact + ':':<11}{plain(value)}")


def why(name: Name, namespace: Namespace = None, context: Context = None) -> None:
    """Say what a run does or waits for, why, and what to do.

    Example: llm2llm why tickets
    """
    with reading():
        _print_explanation(_cluster(context, namespace).get(name))


def logs(
    name: Name,
    stage: Stage = None,
    iteration: Index = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new lines as they are logged.")] = False,
    namespace: Namespace = None,
    context: Context = None,
) -> None:
    """Show the log of a step's newest pod; the logs of steps whose pods are gone are in the store.

    Example: llm2llm logs tickets -i 3 -s Train -f
    """
    from llm2llm_cluster.client import attempt_of, pod_of_step

    with reading():
        cluster = _cluster(context, namespace)
        pod = pod_of_step(cluster, cluster.get(name), stage, iteration)
        typer.echo(f"{pod['metadata']['name']}: {attempt_of(pod)}", err=True)
        for line in cluster.log(pod["metadata"]["name"], follow=follow):
            print(plain(line), flush=True)


def wait(
    name: Name,
    timeout: Annotated[float, typer.Option(help="Maximum number of seconds to wait; 0 waits indefinitely.")] = 0,
    namespace: Namespace = None,
    context: Context = None,
) -> None:
    """Wait until a run has ended: exits with 0 if it succeeded, 1 if it failed, 2 on timeout or if it is held.

    Example: llm2llm wait tickets --timeout 3600 && llm2llm get tickets
    """
    from llm2llm_cluster.words import is_seen

    with reading():
        cluster = _cluster(context, namespace)
        deadline = time.monotonic() + timeout if timeout else float("inf")
        for run in _states(cluster, name, deadline):
            phase = (run.get("status") or {}).get("phase") if is_seen(run) else None
            if phase in ("Succeeded", "Failed", "Suspended") or time.monotonic() >= deadline:
                _print_explanation(run)
                raise typer.Exit({"Succeeded": 0, "Failed": 1}.get(str(phase), 2))


def _states(cluster: Any, name: str, deadline: float) -> Iterator[Mapping[str, Any]]:
    """Yields a run from time to time, and says once if the API server is away.

    Raises:
        Transient: it is still away at the deadline.
    """
    from llm2llm.errors import Transient

    away = False
    while True:
        try:
            run = cluster.get(name)
        except Transient as error:
            if time.monotonic() >= deadline:
                raise
            if not away:
                typer.echo(f"{plain(error.message)} (waiting)", err=True)
            away = True
        else:
            away = False
            yield run
        time.sleep(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic())))


def suspend(name: Name, namespace: Namespace = None, context: Context = None, force: Force = False) -> None:
    """Suspend a run: its pod saves a checkpoint and stops.

    Example: llm2llm suspend tickets
    """
    from llm2llm_cluster import changes

    _change(name, namespace, context, force=force, decide=lambda run: changes.set_suspended(run, suspended=True))


def resume(name: Name, namespace: Namespace = None, context: Context = None, force: Force = False) -> None:
    """Resume a suspended run.

    Example: llm2llm resume tickets
    """
    from llm2llm_cluster import changes

    _change(name, namespace, context, force=force, decide=lambda run: changes.set_suspended(run, suspended=False))


def retry(name: Name, namespace: Namespace = None, context: Context = None, force: Force = False) -> None:
    """Retry the current step of a failed or held run; finished steps are not repeated.

    Example: llm2llm retry tickets
    """
    from llm2llm_cluster import changes

    _change(name, namespace, context, force=force, decide=changes.retry)


def approve(name: Name, namespace: Namespace = None, context: Context = None, force: Force = False) -> None:
    """Approve the newest rows of the teacher, so that the student is trained on them.

    Example: llm2llm approve tickets
    """
    from llm2llm_cluster import changes

    _change(name, namespace, context, force=force, decide=changes.approve)


def topup(
    name: Name,
    tokens: Annotated[int, typer.Option(help="Teacher tokens to add.")] = 0,
    cost: Annotated[str, typer.Option(help="Money to add, in the currency of the prices.", show_default=False)] = "",
    gpu_hours: Annotated[str, typer.Option(help="GPU hours to add.", show_default=False)] = "",
    namespace: Namespace = None,
    context: Context = None,
    force: Force = False,
) -> None:
    """Raise the limits of a run's budget; a run held at a limit resumes by itself.

    A run that failed at a limit (budget.onExceeded: Fail) resumes with `llm2llm retry`.

    Example: llm2llm topup tickets --cost 20
    """
    from llm2llm_cluster import changes

    _change(
        name,
        namespace,
        context,
        force=force,
        decide=lambda run: changes.top_up(run, tokens=tokens, cost=cost, gpu_hours=gpu_hours),
    )


def _change(
    name: str,
    namespace: str | None,
    context: str | None,
    *,
    force: bool,
    decide: Decide,
) -> None:
    """Changes a run; where Git is the source of its spec, and unless forced, prints what to change there."""
    from llm2llm_cluster.changes import keeper, possible_keeper

    with reading():
        cluster = _cluster(context, namespace)
        run = cluster.get(name)
        tool = keeper(run)
        if tool and not force:
            print(f"{name} is kept by {tool} as Git has it, and may be set back by it: change it there, or use --force")
            print(_yaml(decide(run)), end="")
            raise typer.Exit(2)
        change = _decide_and_change(cluster, run, decide)
        if tool := tool or possible_keeper(run):
            typer.echo(f"warning: {name} may be set back by {tool}: change it in Git, too", err=True)
        print(f"{name}: changed")
        print(_yaml(change), end="")


def _decide_and_change(cluster: Any, run: Mapping[str, Any], decide: Decide) -> dict[str, Any]:
    """Changes a run, and decides again if it is another one by then. Returns the change that was made.

    Raises:
        StepError: it cannot be changed, or others change it all the time.
    """
    from llm2llm.errors import ConfigurationError, Transient
    from llm2llm_cluster.client import ChangedMeanwhile

    name, uid = run["metadata"]["name"], run["metadata"]["uid"]
    for _ in range(_TRIES):
        change = decide(run)
        try:
            cluster.change(run, change)
        except ChangedMeanwhile:
            run = cluster.get(name)
            if run["metadata"]["uid"] != uid:
                raise ConfigurationError(
                    f"{name} was deleted and created again meanwhile: nothing is changed"
                ) from None
        else:
            return change
    raise Transient(f"{name} was changed by others {_TRIES} times meanwhile: nothing is changed; try again")


def _yaml(change: dict[str, Any]) -> str:
    return dump({"spec": change})


def _print_explanation(run: Mapping[str, Any]) -> None:
    from llm2llm_cluster.words import explain

    for sentence in explain(run):
        print(sentence)
