"""Debian's packages that tests need, installed where they are missing and can be."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLICY = Path("/usr/sbin/policy-rc.d")  # packages ask it whether they may start their daemons
PLACES = f"{os.environ['PATH']}:/usr/sbin:/sbin"


def missing(packages: dict[str, str]) -> list[str]:
    """Those whose programs are not there.

    Args:
        packages: a program of each, and the package's name.
    """
    return [package for program, package in packages.items() if not shutil.which(program, path=PLACES)]


def why_not(packages: dict[str, str]) -> str | None:
    """Why what is missing cannot be installed; None: it can, or nothing is."""
    if not missing(packages) or (shutil.which("apt-get") and os.geteuid() == 0):
        return None
    return f"not installed, and only root can: apt-get install {' '.join(missing(packages))}"


def install(packages: dict[str, str]) -> None:
    """Install what is missing, one process at a time, without starting it for the whole machine.

    Raises:
        RuntimeError: apt-get failed.
    """
    with _alone(), _nothing_starts():
        if not missing(packages):
            return
        command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing(packages)]
        if _run(command).returncode:  # its lists may be old, or not there yet
            _run(["apt-get", "update"])
            if (done := _run(command)).returncode:
                raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")


def _run(command: list[str]) -> subprocess.CompletedProcess:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@contextmanager
def _alone() -> Iterator[None]:
    with (Path(tempfile.gettempdir()) / "sys2ft-tests-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _nothing_starts() -> Iterator[None]:
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink()
