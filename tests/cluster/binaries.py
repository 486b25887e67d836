"""The programs that the test cluster is made of, each built once and kept outside the checkout.

A program lies at `bin/<name>-<digest>/<name>` in the cache, where the digest covers everything that its build depends
on. So a changed input is a new folder, an unchanged one costs a `stat`, and two checkouts share their builds.

    $LLM2LLM_CACHE, else $XDG_CACHE_HOME/llm2llm, else ~/.cache/llm2llm
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

KUBERNETES = os.environ.get("LLM2LLM_KUBERNETES", "usual")
"""`newest` makes the control plane, and all that is told its version, of the newest release."""
KUBERNETES_VERSION, _KUBERNETES_MODULE = {"usual": ("1.34.4", "go.mod"), "newest": ("1.37.2", "newest.mod")}[KUBERNETES]
VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
HELM = "helm.sh/helm/v3/cmd/helm@v3.22.0"
KUEUE_MODULE, KUEUE_VERSION = "sigs.k8s.io/kueue", "v0.17.0"
MONITORING_MODULE, MONITORING_VERSION = "github.com/prometheus-operator/prometheus-operator", "v0.85.0"
MONITORING_KINDS = ("servicemonitors", "prometheusrules")
AXE = "axe-core@4.14.1"
MLFLOW = "mlflow==3.17.2"
MINIMUM_GO = (1, 26)

_CONTROL_PLANE_SOURCE = Path(__file__).parent / "controlplane"
_APICHECK_SOURCE = Path(__file__).parent / "apicheck"
_KSTATUS_SOURCE = Path(__file__).parent / "kstatus"
_KUBELET_SOURCE = Path(__file__).parent / "kubelet"
_PAUSE_SOURCE = Path(__file__).parent / "pause"
_MAJOR, _MINOR, _ = KUBERNETES_VERSION.split(".")
_VERSION_PACKAGE = "k8s.io/component-base/version"
_KUBERNETES_LDFLAGS = (
    f"-s -w -X {_VERSION_PACKAGE}.gitVersion=v{KUBERNETES_VERSION}"
    f" -X {_VERSION_PACKAGE}.gitMajor={_MAJOR} -X {_VERSION_PACKAGE}.gitMinor={_MINOR}"
)
# Without these helm renders for Kubernetes 1.20 whenever it has no cluster to ask (`helm template`).
_HELM_LDFLAGS = (
    f"-s -w -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor={_MAJOR}"
    f" -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor={_MINOR}"
)


class BuildError(RuntimeError):
    """A program could not be built; the message says what to do."""


def cache_folder() -> Path:
    """The folder for everything that outlives a checkout: builds, and the state of the background cluster."""
    chosen = os.environ.get("LLM2LLM_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "llm2llm"


def control_plane() -> Path:
    """etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubectl as one binary."""

    def with_kubectl(folder: Path) -> None:
        script = folder / "kubectl"
        script.write_text('#!/bin/sh\nexec "$(dirname "$(readlink -f "$0")")/controlplane" kubectl "$@"\n')
        script.chmod(0o755)

    usually = "about 9 CPU minutes when the Go cache is cold"
    source, module = _CONTROL_PLANE_SOURCE, _KUBERNETES_MODULE
    return _compiled("controlplane", source, _KUBERNETES_LDFLAGS, usually, with_kubectl, module=module)


def kstatus() -> Path:
    """What GitOps tools and `kubectl`-like waiting make of an object's conditions (sigs.k8s.io/cli-utils)."""
    return _compiled("kstatus", _KSTATUS_SOURCE, "-s -w", "about 20 CPU seconds", lambda _folder: None)


def apicheck(module: str = "go.mod") -> Path:
    """What one Kubernetes version's own types and validators say of manifests: the oldest, or that of newest.mod."""
    usually = "about 4 CPU minutes"
    return _compiled(
        f"apicheck-{Path(module).stem}", _APICHECK_SOURCE, "-s -w", usually, lambda _folder: None, module=module
    )


def kubelet() -> Path:
    """The kubelet, for tests/realnode."""
    usually = "about 3 CPU minutes after the control plane"
    return _compiled("kubelet", _KUBELET_SOURCE, _KUBERNETES_LDFLAGS, usually, lambda _folder: None)


def pause() -> Path:
    """The program of a pod's sandbox, linked statically: nothing else is in its image."""
    return _compiled("pause", _PAUSE_SOURCE, "-s -w", "a second", lambda _folder: None, {"CGO_ENABLED": "0"})


def kubectl() -> Path:
    """kubectl of the control plane's own version."""
    return control_plane().with_name("kubectl")


def versitygw() -> Path:
    """The S3 server."""
    return _installed("versitygw", VERSITYGW, "-s -w", "about 1 CPU minute")


def helm() -> Path:
    """helm, which takes the cluster for the version that it is also when rendering without one."""
    return _installed("helm", HELM, _HELM_LDFLAGS, "about 2 CPU minutes")


def actionlint() -> Path:
    """The linter of GitHub's workflows."""
    return _installed("actionlint", ACTIONLINT, "-s -w", "half a CPU minute")


def kueue() -> Path:
    """Kueue's controller; its chart lies beside it, in `chart`."""
    package = f"{KUEUE_MODULE}/cmd/kueue@{KUEUE_VERSION}"
    return _installed("kueue", package, "-s -w", "about 6 CPU minutes", _with_kueues_chart)


def _with_kueues_chart(folder: Path) -> None:
    found = _run(["go", "mod", "download", "-json", f"{KUEUE_MODULE}@{KUEUE_VERSION}"], cwd=folder)
    shutil.copytree(
        Path(json.loads(found)["Dir"]) / "charts" / "kueue", folder / "chart", copy_function=shutil.copyfile
    )
    for part in (folder / "chart").rglob("*"):  # the module cache cannot be written to
        part.chmod(0o755 if part.is_dir() else 0o644)


def monitoring_crds() -> Path:
    """The CRDs of the Prometheus Operator that the chart has objects of, in one file."""

    def build(folder: Path) -> None:
        found = _run(["go", "mod", "download", "-json", f"{MONITORING_MODULE}@{MONITORING_VERSION}"], cwd=folder)
        crds = Path(json.loads(found)["Dir"]) / "example" / "prometheus-operator-crd"
        texts = [(crds / f"monitoring.coreos.com_{kind}.yaml").read_text() for kind in MONITORING_KINDS]
        (folder / "monitoring-crds").write_text("---\n".join(texts))

    made_from = f"{MONITORING_MODULE}@{MONITORING_VERSION} {MONITORING_KINDS}"
    digest = hashlib.sha256(made_from.encode()).hexdigest()
    return _built("monitoring-crds", digest, "a download of a few MB", build)


def prometheus() -> Path:
    """Prometheus, with promtool beside it: the package of the distribution, unpacked and not installed.

    Where both are on PATH, these are copied: for a distribution without apt.
    """
    release = Path("/etc/os-release")
    made_from = f"prometheus {release.read_text() if release.exists() else ''}"
    digest = hashlib.sha256(made_from.encode()).hexdigest()
    return _built("prometheus", digest, "a download of 20 MB", _unpack_prometheus, needs_go=False)


def promtool() -> Path:
    """The checker of rules, of Prometheus' own version."""
    return prometheus().with_name("promtool")


def axe() -> Path:
    """The script that finds what people with other senses cannot use on a page."""

    def build(folder: Path) -> None:
        if shutil.which("npm") is None:
            raise BuildError("npm is not on PATH, and axe-core is a package of its: install Node.js")
        [archive] = json.loads(_run(["npm", "pack", AXE, "--json"], cwd=folder))
        _run(["tar", "xzf", archive["filename"], "package/axe.min.js"], cwd=folder)
        (folder / "package" / "axe.min.js").rename(folder / "axe")

    return _built("axe", hashlib.sha256(AXE.encode()).hexdigest(), "a download of a few MB", build, needs_go=False)


def mlflow() -> Path:
    """MLflow's server, in an environment of its own: it would bring its own versions of what the tests pin.

    It is what `mlflow server` starts, without the processes beside it, and takes the options of uvicorn.
    """
    start = '#!/bin/sh\nexec "$(dirname "$0")/environment/bin/python" -m uvicorn mlflow.server.fastapi_app:app "$@"\n'

    def build(folder: Path) -> None:
        uv = str(Path(sys.executable).with_name("uv"))
        environment = folder / "environment"
        _run([uv, "venv", "-q", "--relocatable", "--python", sys.executable, str(environment)])
        _run([uv, "pip", "install", "-q", "--python", str(environment / "bin" / "python"), MLFLOW])
        (folder / "mlflow").write_text(start)
        (folder / "mlflow").chmod(0o755)

    digest = hashlib.sha256(f"{MLFLOW} {sys.version} {start}".encode()).hexdigest()
    return _built("mlflow", digest, "a download of 200 MB", build, needs_go=False)


def _unpack_prometheus(folder: Path) -> None:
    programs = ("prometheus", "promtool")
    found = [shutil.which(program) for program in programs]
    if None in found:
        if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
            raise BuildError(
                "Prometheus is not on PATH and there is no apt-get to get it: install prometheus and promtool"
            )
        _download_deb("prometheus", folder / "package")
        found = [str(folder / "package" / "usr" / "bin" / program) for program in programs]
    for program, path in zip(programs, found, strict=True):
        shutil.copy2(str(path), folder / program)
    shutil.rmtree(folder / "package", ignore_errors=True)


def _download_deb(package: str, folder: Path) -> None:
    """Unpacks a package of the distribution, without root; where it has no lists of packages, with lists of our own."""
    folder.mkdir()
    download = ["apt-get", "download", package]
    try:
        _run(download, cwd=folder)
    except BuildError:
        (folder / "lists" / "partial").mkdir(parents=True)
        own = ["-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}", "-o", "APT::Sandbox::User="]
        _run(["apt-get", *own, "update"])
        _run([*download, *own], cwd=folder)
    [archive] = folder.glob(f"{package}_*.deb")
    _run(["dpkg", "-x", str(archive), str(folder)])


def _compiled(
    name: str,
    source: Path,
    ldflags: str,
    usually: str,
    finish: Callable[[Path], None],
    environment: dict[str, str] | None = None,
    *,
    module: str = "go.mod",
) -> Path:
    """A program of ours, from a folder with a module of its own, or with several of them."""
    digest = hashlib.sha256(ldflags.encode())
    for file in (module, module.replace(".mod", ".sum"), "main.go"):
        digest.update((source / file).read_bytes())

    def build(folder: Path) -> None:
        command = ["go", "build", "-trimpath", "-mod=readonly", f"-modfile={module}", "-ldflags", ldflags]
        _run([*command, "-o", str(folder / name), "."], cwd=source, env=environment)
        finish(folder)

    return _built(name, digest.hexdigest(), usually, build)


def _installed(
    name: str, package: str, ldflags: str, usually: str, finish: Callable[[Path], None] = lambda _folder: None
) -> Path:
    """A program of others, by the package and version that it is made from."""

    def build(folder: Path) -> None:
        _run(["go", "install", "-trimpath", "-ldflags", ldflags, package], env={"GOBIN": str(folder), "GOFLAGS": ""})
        finish(folder)

    return _built(name, hashlib.sha256(f"{package} {ldflags}".encode()).hexdigest(), usually, build)


def _built(name: str, digest: str, usually: str, build: Callable[[Path], None], *, needs_go: bool = True) -> Path:
    """Returns the program from the cache, building it into place first if it is not there."""
    folder = cache_folder() / "bin" / f"{name}-{digest[:16]}"
    program = folder / name
    if program.exists():
        return program
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock")):
        if program.exists():  # another builder was first
            return program
        if needs_go:
            _require_go()
        print(f"building {name} (once; {usually}) ...", file=sys.stderr, flush=True)
        started = time.monotonic()
        staging = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
        try:
            build(staging)
            staging.chmod(0o755)
            staging.rename(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        print(f"built {name} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return program


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _require_go() -> None:
    wanted = ".".join(map(str, MINIMUM_GO))
    go = shutil.which("go")
    if go is None:
        raise BuildError(
            f"Go is not installed (no `go` on PATH): install Go {wanted} or newer to build the test cluster"
        )
    # Asked inside our module, so that GOTOOLCHAIN=auto has already chosen the toolchain that the build would get.
    told = subprocess.run(
        [go, "env", "GOVERSION"], cwd=_CONTROL_PLANE_SOURCE, capture_output=True, text=True, check=False
    )
    found = re.match(r"go(\d+)\.(\d+)", told.stdout)
    if told.returncode != 0 or found is None:
        raise BuildError(f"`go env GOVERSION` failed: {told.stderr.strip() or told.stdout.strip()}")
    if (int(found[1]), int(found[2])) < MINIMUM_GO:
        raise BuildError(f"{told.stdout.strip()} is too old: Go {wanted} or newer, or GOTOOLCHAIN=auto, is needed")


def _run(command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Runs a command and returns what it printed. Raises BuildError with the end of what it said if it fails."""
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BuildError(f"`{' '.join(command)}` failed with exit code {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout
