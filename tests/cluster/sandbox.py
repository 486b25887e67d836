"""A container's own view of the machine, made of Linux namespaces without root.

Runs inside a freshly forked process. The host's top-level folders are bound read-only into a small tmpfs root; volumes
are bound at their mount paths. A mount path that does not exist is never created on the host: the nearest existing
folder is replaced, in this view only, by a tmpfs into which its entries are bound back. `/proc`, `/dev`, `/dev/shm`,
the host name and the process ids are the container's own; the network is the host's.
"""

# ruff: noqa: PTH102, PTH112, PTH114, PTH115, PTH116, PTH118, PTH120, PTH211
# A path of the container is `root + path`, and `Path` would drop the root before an absolute path

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import stat
from collections import deque
from dataclasses import dataclass
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_MS_RDONLY = 0x1
_MS_NOSUID = 0x2
_MS_NODEV = 0x4
_MS_NOEXEC = 0x8
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_UNBINDABLE = 1 << 17
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_SYS_MOUNT_SETATTR = 442  # the same on every architecture; Linux 5.12
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 1
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_MAX_LINKS = 40

_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Bind:
    """A file or folder of the host at a path of the container."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True)
class Sandbox:
    """What a container sees.

    Attributes:
        root: an empty folder of the host on which the new root is built (in the container's own mount namespace).
        uid: the user that the process sees itself as; None stays 0. Files of ours are its files either way.
        read_only_root: nothing but volumes, `/dev/shm` and bound files can be written.
        cpus: on how many CPUs its processes may run; None: on all of the node's.
    """

    root: str
    binds: tuple[Bind, ...]
    workdir: str
    hostname: str
    uid: int | None
    gid: int | None
    read_only_root: bool
    no_new_privileges: bool
    cpus: int | None = None


def separate() -> None:
    """Moves the calling (single-threaded) process into new namespaces; its children are in the new pid namespace."""
    uid, gid = os.geteuid(), os.getegid()
    _check(_LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWUTS), "unshare")
    _map_ids(0, uid, 0, gid)


def die_with_parent() -> None:
    """Asks the kernel to kill this process when the thread that forked it ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def enter(sandbox: Sandbox) -> None:
    """Gives the calling process, the first of its pid namespace, the container's view."""
    socket.sethostname(sandbox.hostname[:63])
    root = _Root(sandbox.root, writable=not sandbox.read_only_root)
    # By depth, so that a mount inside another one comes after it; all places first, since to make one in a folder of the
    # host covers what is bound there.
    binds = sorted(sandbox.binds, key=lambda one: one.target.rstrip("/").count("/"))
    for bind in binds:
        root.make_place(bind)
    for bind in binds:
        root.bind(bind)
    root.ensure_folder(sandbox.workdir)
    if sandbox.read_only_root:
        root.close()
    _pivot(sandbox.root)
    if sandbox.uid is not None:
        _check(_LIBC.unshare(_CLONE_NEWUSER), "unshare")  # a user of our choice, without capabilities outside it
        _map_ids(sandbox.uid, 0, sandbox.gid if sandbox.gid is not None else sandbox.uid, 0)
        _drop_capabilities()
    if sandbox.no_new_privileges:
        _check(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")
    if sandbox.cpus is not None:
        here = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, random.sample(here, min(sandbox.cpus, len(here))))
    os.chdir(sandbox.workdir)


class _Root:
    """The new root while it is built. `_own` says of each mount whether we may create entries in it."""

    def __init__(self, at: str, *, writable: bool) -> None:
        self._at = at
        self._own = {"/": True}
        self._tmpfs = ["/"]
        _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
        _mount("tmpfs", at, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755")
        _mount(None, at, None, _MS_UNBINDABLE)  # else binding the folder that holds it would bind it into itself
        self._fill("/", skip={"proc", "dev"})
        self._make_proc()
        self._make_dev()
        if writable:
            for path in ("/tmp", "/var/tmp", "/run"):
                if os.path.isdir(path) and not os.path.islink(path):
                    self._open(path)

    def make_place(self, bind: Bind) -> str:
        """Creates where a mount goes, if it is not there; returns its real path."""
        return self._locate(bind.target, folder=os.path.isdir(bind.source))

    def bind(self, bind: Bind) -> None:
        target = self.make_place(bind)
        _mount(bind.source, self._at + target, None, _MS_BIND | _MS_REC)
        if bind.read_only:
            _read_only(self._at + target, recursive=True)
        self._own[target] = True

    def ensure_folder(self, path: str) -> None:
        self._locate(path, folder=True)

    def close(self) -> None:
        for path in self._tmpfs:
            _read_only(self._at + path, recursive=False)

    def _fill(self, path: str, skip: set[str]) -> None:
        """Binds the entries of a host folder into our tmpfs of the same path."""
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name in skip:
                    continue
                with contextlib.suppress(FileNotFoundError):  # something temporary that is gone by now
                    self._fill_in(entry, os.path.join(path, entry.name))

    def _fill_in(self, entry: os.DirEntry[str], inside: str) -> None:
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), self._at + inside)
            return
        if entry.is_dir():
            os.mkdir(self._at + inside)
        else:
            _touch(self._at + inside)
        _mount(entry.path, self._at + inside, None, _MS_BIND | _MS_REC)
        _read_only(self._at + inside, recursive=True)
        self._own[inside] = False

    def _open(self, path: str) -> None:
        """Makes a folder that is bound from the host one of our own, with the host's entries in it."""
        mode = stat.S_IMODE(os.stat(path).st_mode)
        _mount("tmpfs", self._at + path, "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode={mode:o}")
        self._own[path] = True
        self._tmpfs.append(path)
        self._fill(path, skip=set())

    def _locate(self, path: str, *, folder: bool) -> str:
        """Follows a path inside the new root, links included, and creates what is missing; returns the real path."""
        left, at, links = deque(path.split("/")), "/", 0
        while left:
            name = left.popleft()
            if name in ("", "."):
                continue
            if name == "..":
                at = os.path.dirname(at)
                continue
            inside = os.path.join(at, name)
            if os.path.islink(self._at + inside):
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(f"too many symbolic links in {path}")
                target = os.readlink(self._at + inside)
                at = "/" if target.startswith("/") else at
                left.extendleft(reversed(target.split("/")))
                continue
            if not os.path.lexists(self._at + inside):
                if not self._owned(at):
                    self._open(at)
                if left or folder:
                    os.mkdir(self._at + inside)
                else:
                    _touch(self._at + inside)
            at = inside
        return at

    def _owned(self, path: str) -> bool:
        while path not in self._own:
            path = os.path.dirname(path)
        return self._own[path]

    def _make_proc(self) -> None:
        os.mkdir(self._at + "/proc")
        _mount("proc", self._at + "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
        self._own["/proc"] = False

    def _make_dev(self) -> None:
        dev = self._at + "/dev"
        os.mkdir(dev)
        _mount("tmpfs", dev, "tmpfs", _MS_NOSUID, "mode=0755")
        for name in _DEVICES:
            _touch(f"{dev}/{name}")
            _mount(f"/dev/{name}", f"{dev}/{name}", None, _MS_BIND)
        os.symlink("/proc/self/fd", f"{dev}/fd")
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            os.symlink(f"/proc/self/fd/{number}", f"{dev}/{name}")
        os.mkdir(f"{dev}/shm")
        _mount("tmpfs", f"{dev}/shm", "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "mode=1777")
        self._own["/dev"] = True


def _pivot(root: str) -> None:
    os.chdir(root)
    _check(_LIBC.pivot_root(b".", b"."), "pivot_root")
    _check(_LIBC.umount2(b".", _MNT_DETACH), "umount of the old root")
    os.chdir("/")


def _map_ids(uid: int, outer_uid: int, gid: int, outer_gid: int) -> None:
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {outer_gid} 1")


def _drop_capabilities() -> None:
    """Empties the capability sets, which `exec` would do for another user than root, but a plain fork does not."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    data = (ctypes.c_uint32 * 6)()
    _check(_LIBC.capset(header, data), "capset")


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))


def _read_only(path: str, *, recursive: bool) -> None:
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    number = _LIBC.syscall(
        _SYS_MOUNT_SETATTR, _AT_FDCWD, path.encode(), flags, ctypes.byref(attributes), ctypes.sizeof(attributes)
    )
    _check(number, f"mount_setattr of {path}")


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind)]
    result = _LIBC.mount(*texts, ctypes.c_ulong(flags), None if data is None else data.encode())
    _check(result, f"mount of {source} at {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
