"""The process from which containers are forked.

The node agent talks to it over a socket, one JSON object a line. It is a process of its own because entering a user
namespace needs a single-threaded process, and because it can import heavy modules once: a container whose command is
then a Python function of those modules (`--command llm2llm=llm2llm.cli.main:main`) starts in milliseconds instead of the
seconds that importing torch takes. Without modules it only forks and execs. Both ways go through the same sandbox, so
what a container sees, and how it ends, is the same.

    request   {"id", "argv", "env", "log", "sandbox"}
    answers   {"found"} once its modules are known to exist, then for each id {"pid"}, {"started"} or {"error"}, and last {"status"} as waitpid tells it

A container is two processes: one that waits outside the pid namespace, and the first one inside it. When that one ends,
the kernel ends the whole namespace; when the waiting one, the zygote or the agent is killed, that one is killed too.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import selectors
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.cluster import sandbox

Body = Callable[[], Any]
Command = Callable[[list[str]], Any]


def main(argv: list[str]) -> Any:
    """Serves until the agent closes the socket. In a container's process, returns what its function returned."""
    parser = argparse.ArgumentParser(prog="zygote")
    parser.add_argument("--fd", type=int, required=True, help="the socket to the agent")
    parser.add_argument("--import", dest="modules", action="append", default=[], help="a module to import once")
    parser.add_argument("--command", action="append", default=[], metavar="NAME=MODULE:FUNCTION")
    options = parser.parse_args(argv)
    targets = {name: target for name, _, target in (text.partition("=") for text in options.command)}
    wanted = [*options.modules, *(target.partition(":")[0] for target in targets.values())]
    for module in wanted:
        if importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}")
    with socket.socket(fileno=options.fd) as connection:
        connection.set_inheritable(False)
        _send(connection, {"found": True})  # importing takes long: the agent goes on, containers wait for us
        for module in wanted:
            importlib.import_module(module)
        commands: dict[str, Command] = {}
        for name, target in targets.items():
            module, _, function = target.partition(":")
            commands[name] = getattr(sys.modules[module], function)
        # Else the collector would write to, and so copy, every page of the imports in each child, at its exit at the latest:
        # 1.9 s for torch and transformers, 0.5 s with it.
        gc.collect()
        gc.freeze()
        body = _serve(connection, commands)
    # In the zygote there is no body. In a container the stack is unwound to here before its function runs, so that
    # SystemExit, exceptions and `atexit` do what they do in any program.
    return 0 if body is None else body()


def _serve(connection: socket.socket, commands: dict[str, Command]) -> Body | None:
    """Forks a container for each request and passes its answers on; in the container, returns what it shall run."""
    containers: dict[int, tuple[str, int]] = {}  # pipe -> id, pid of the waiting process
    buffered = b""
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is connection:
                    received = connection.recv(1 << 20)
                    if not received:
                        _end(containers)
                        return None
                    *lines, buffered = (buffered + received).split(b"\n")
                    for line in lines:
                        request = json.loads(line)
                        reader, writer = os.pipe()
                        pid = os.fork()
                        if pid == 0:
                            os.close(reader)
                            return _container(request, writer, commands)
                        os.close(writer)
                        selector.register(reader, selectors.EVENT_READ)
                        containers[reader] = (request["id"], pid)
                else:
                    pipe = key.fd
                    name, pid = containers[pipe]
                    answers = os.read(pipe, 1 << 16)
                    for line in answers.splitlines():
                        _send(connection, {"id": name, **json.loads(line)})
                    if not answers:
                        selector.unregister(pipe)
                        os.close(pipe)
                        del containers[pipe]
                        _, status = os.waitpid(pid, 0)
                        if status != 0:  # it was killed before it could tell
                            _send(connection, {"id": name, "status": signal.SIGKILL})


def _container(request: dict[str, Any], answers: int, commands: dict[str, Command]) -> Body:
    """In the forked process: enters the sandbox. Returns only in the container's first process."""
    try:
        os.setsid()
        sandbox.die_with_parent()
        sandbox.separate()
        pid = os.fork()
    except BaseException as error:  # noqa: BLE001 - top of a process: whatever it is, the agent must hear of it
        _tell(answers, {"error": str(error)})
        _tell(answers, {"status": 128 << 8})
        os._exit(0)
    if pid != 0:
        _tell(answers, {"pid": pid})
        _, status = os.waitpid(pid, 0)
        _tell(answers, {"status": status})
        os._exit(0)
    try:
        sandbox.die_with_parent()
        return _prepare(request, answers, commands)
    except BaseException as error:  # noqa: BLE001 - as above
        _tell(answers, {"error": str(error)})
        os._exit(128)


def _prepare(request: dict[str, Any], answers: int, commands: dict[str, Command]) -> Body:
    os.setsid()
    env, argv = request["env"], request["argv"]
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open("/dev/null", os.O_RDONLY)
    seen = request["sandbox"]
    binds = tuple(sandbox.Bind(**bind) for bind in seen.pop("binds"))
    sandbox.enter(sandbox.Sandbox(binds=binds, **seen))
    program = shutil.which(argv[0], path=env.get("PATH", ""))
    if program is None:
        reason = "no such file or directory" if "/" in argv[0] else "executable file not found in $PATH"
        raise FileNotFoundError(f'exec: "{argv[0]}": {reason}')
    for number, descriptor in enumerate((null, log, log)):
        os.dup2(descriptor, number)
    for descriptor in (null, log):
        if descriptor > 2:
            os.close(descriptor)
    function = commands.get(Path(argv[0]).name)
    _tell(answers, {"started": True})
    if function is None:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them; a program expects the defaults
            signal.signal(number, signal.SIG_DFL)
        os.execve(program, argv, env)
    os.close(answers)
    return _python_body(function, program, argv, env)


def _python_body(function: Command, program: str, argv: list[str], env: dict[str, str]) -> Body:
    sys.path[0] = str(Path(program).parent)
    become_fresh([program, *argv[1:]], env)

    def body() -> Any:
        try:
            return function(argv[1:])
        finally:  # the interpreter does so after a script, before it prints a traceback
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()

    return body


def become_fresh(argv: list[str], env: Mapping[str, str]) -> None:
    """Makes this interpreter, whose descriptors 0 to 2 are set, look as if it had just been started for a command."""
    os.environ.clear()
    os.environ.update(env)
    sys.argv = argv
    signal.signal(signal.SIGINT, signal.default_int_handler)
    unbuffered = bool(env.get("PYTHONUNBUFFERED"))
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - they live as long as the process
    sys.stdout = open(1, "w", encoding="utf-8", buffering=1 if unbuffered else -1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115


def _end(containers: dict[int, tuple[str, int]]) -> None:
    for _, pid in containers.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # and the kernel, then, the container
    for _, pid in containers.values():
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _tell(pipe: int, answer: dict[str, Any]) -> None:
    os.write(pipe, json.dumps(answer).encode() + b"\n")


def _send(connection: socket.socket, answer: dict[str, Any]) -> None:
    connection.sendall(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
