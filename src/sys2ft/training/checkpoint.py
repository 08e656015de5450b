"""Checkpoints that survive being killed at any moment, and the signals that ask for one.

A checkpoint is a folder `step=...`: written under another name, every file flushed to disk, its checksums beside it,
then renamed. The one before is kept, so that a torn one (a full disk, a machine that lost power) costs a few steps.
"""

import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # schedulers send these ahead of the end
KEEP = 2
PATIENCE = 10.0  # seconds


class InterruptedTraining(Exception):
    """Training stopped on a signal, after its checkpoint was written; the next run goes on from there."""

    def __init__(self, signum: int, step: int):
        super().__init__(f"{signal.Signals(signum).name} after step {step}; the checkpoint is written")
        self.signum = signum


class Checkpoints:
    """The checkpoints of one training run.

    Args:
        folder: holds nothing else.
        identity: what the run's result depends on; checkpoints of another one are no use and are ignored.
        every: seconds between two.
        rank: this process's number; the first one names files and removes them, all write into them.
        meet: waits until all processes have come to the same point.
    """

    def __init__(
        self, folder: Path, identity: str, every: float, rank: int = 0, meet: Callable[[], object] = lambda: None
    ):
        self.folder, self.identity, self.every, self.rank, self.meet = folder, identity, every, rank, meet
        self.last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for the next."""
        return time.monotonic() - self.last >= self.every

    def save(self, step: int, write: Callable[[Path], object]) -> None:
        """Let `write` fill a folder, on all processes, and give it its name when it is whole."""
        target = self.folder / f"step={step:08d}"
        temporary = self.folder / f".{target.name}"
        if self.rank == 0:
            for torn in self.folder.glob(".step=*"):
                shutil.rmtree(torn)
            temporary.mkdir(parents=True)
        self.meet()
        write(temporary)
        self.meet()
        if self.rank == 0:
            self._seal(step, temporary)
            shutil.rmtree(target, ignore_errors=True)
            os.rename(temporary, target)
            _flush(self.folder)
            # A later one was torn, or this run would have gone on from it.
            own = [folder for folder in self._folders() if folder.name <= target.name and self._is_own(folder)]
            for old in set(self._folders()) - set(own[:KEEP]):
                shutil.rmtree(old)
        self.meet()
        self.last = time.monotonic()

    def newest(self) -> tuple[int, Path] | None:
        """The newest whole checkpoint of this run: how many steps were done, and its folder."""
        for folder in self._folders():
            step = self._check(folder)
            if step is not None:
                return step, folder
            print(f"{folder}: torn, or of another run; ignored", flush=True)
        return None

    def clear(self) -> None:
        """Remove all."""
        if self.rank == 0:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _folders(self) -> list[Path]:
        return sorted(self.folder.glob("step=*"), reverse=True)

    def _is_own(self, folder: Path) -> bool:
        try:
            return json.loads((folder / "manifest.json").read_text())["identity"] == self.identity
        except (OSError, ValueError, KeyError):
            return False

    def _seal(self, step: int, folder: Path) -> None:
        """Flush every file and write their checksums beside them."""
        files = {str(path.relative_to(folder)): _flush(path) for path in sorted(folder.rglob("*")) if path.is_file()}
        manifest = folder / "manifest.json"
        manifest.write_text(json.dumps({"step": step, "identity": self.identity, "files": files}))
        _flush(manifest)
        _flush(folder)

    def _check(self, folder: Path) -> int | None:
        try:
            manifest = json.loads((folder / "manifest.json").read_text())
            whole = all(_sha256(folder / name) == digest for name, digest in manifest["files"].items())
        except (OSError, ValueError, KeyError):
            return None
        return int(manifest["step"]) if whole and manifest["identity"] == self.identity else None


def _flush(path: Path) -> str:
    """Force a file or folder to disk; returns a file's SHA-256."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return "" if path.is_dir() else _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Interruption:
    """The signal that came, if one did: 0 or its number; and when."""

    signum = 0
    since = 0.0


@contextmanager
def watch_signals() -> Iterator[Interruption]:
    """Note the signals that ask for a checkpoint instead of dying of them.

    One that comes some seconds after another kills as usual; sooner it is the same request, which schedulers and
    launchers both hand on.
    """
    found = Interruption()

    def note(signum: int, _: object) -> None:
        if found.signum and time.monotonic() - found.since > PATIENCE:
            signal.signal(signum, previous[signum])
            os.kill(os.getpid(), signum)
        elif not found.signum:
            found.signum, found.since = signum, time.monotonic()

    previous = {int(signum): signal.signal(signum, note) for signum in SIGNALS}
    try:
        yield found
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
