"""What one process at a time may do, such as training a cell.

A scheduler that lost sight of a job, or a Snakemake that was killed, may leave one running that nobody waits for; the
next one would write the same files. A lease is a file made in one step, which its holder touches every few seconds;
one that is no longer touched, or whose process has ended, is void. Clocks of different machines are not compared.
"""

import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

BEAT = 20.0  # seconds between two signs of life
PATIENCE = 180.0  # without one until a lease is void; network file systems show times late
LOST = 75  # exit status of a process whose lease went to another one
Holder = dict[str, Any]


@contextmanager
def hold_lease(
    path: Path, beat: float = BEAT, patience: float = PATIENCE, lost: Callable[[], NoReturn] | None = None
) -> Iterator[None]:
    """Wait until nobody else holds the lease, hold it, and give it back.

    A process that finds its lease in other hands, as it was stopped for too long, may not write.

    Args:
        path: the lease; its folder is made where it is missing.
        beat: seconds between two signs of life.
        patience: seconds without one until another holder's lease is void.
        lost: `end` or `start_again`, done at once when the lease is in other hands, or gone, as another one has had it
            meanwhile. None: `end` in the first case, and in the second the process goes on: who took the lease away
            meant it.
    """
    mine = {**_process(os.getpid()), "job": os.environ.get("SLURM_JOB_ID"), "token": uuid.uuid4().hex}
    path.parent.mkdir(parents=True, exist_ok=True)
    _acquire(path, mine, beat, patience)
    done = threading.Event()
    keeper = threading.Thread(target=_keep, args=(path, mine, beat, done, lost), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()
        if read_lease(path) == mine:
            path.unlink()


def end() -> NoReturn:
    """End this process without writing anything more."""
    os._exit(LOST)


def start_again() -> NoReturn:
    """Start this program anew, in the same process: whoever waits for it, such as Snakemake, notices nothing."""
    os.execv(sys.executable, [sys.executable, *sys.argv])


def read_lease(path: Path) -> Holder | None:
    """Who holds a lease: `host`, `pid`, `started`, `job` (of SLURM, or null); None where nobody does."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _acquire(path: Path, mine: Holder, beat: float, patience: float) -> None:
    seen: tuple[Any, int] | None = None
    since, told = time.monotonic(), False
    while not _create(path, mine):
        try:
            now = (holder := read_lease(path)), path.stat().st_mtime_ns
        except FileNotFoundError:
            continue
        if now != seen:
            seen, since = now, time.monotonic()
        if has_ended(holder) or time.monotonic() - since > patience:
            print(f"{path}: its holder {describe_holder(holder)} is no more; going on", flush=True)
            _remove(path, now)
            continue
        if not told:
            print(f"{path}: {describe_holder(holder)} is at work here; waiting for its end", flush=True)
            told = True
        time.sleep(min(1.0, beat))


def _create(path: Path, mine: Holder) -> bool:
    """Make the lease whole in one step, unless it exists: a link does so on network file systems too."""
    temporary = path.with_name(f".{path.name}.{mine['token']}")
    temporary.write_text(json.dumps(mine))
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # no hard links here
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "w") as stream:
            stream.write(json.dumps(mine))
    finally:
        temporary.unlink()
    return True


def _remove(path: Path, seen: tuple[Any, int]) -> None:
    """Take a void lease away, unless another process was faster and holds a new one by now."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if (read_lease(aside), aside.stat().st_mtime_ns) != seen:
        with suppress(OSError):
            os.link(aside, path)
    aside.unlink()


def _keep(path: Path, mine: Holder, beat: float, done: threading.Event, lost: Callable[[], NoReturn] | None) -> None:
    while not done.wait(beat):
        if (holder := read_lease(path)) not in (mine, None):
            print(f"{path}: {describe_holder(holder)} is at work here now; this one gives way", flush=True)
            (lost or end)()
        try:
            os.utime(path)
        except FileNotFoundError:
            if lost is not None:
                print(f"{path}: another one has been at work here; this one gives way", flush=True)
                lost()
        except OSError:  # the file system may be away for a while
            continue


def _process(pid: int) -> Holder:
    """What tells a process from all others: its machine, its number there, and when it started."""
    space = os.readlink("/proc/self/ns/pid") if Path("/proc/self/ns/pid").exists() else ""
    return {"host": f"{socket.gethostname()} {space}".strip(), "pid": pid, "started": _started(pid)}


def _started(pid: int) -> str | None:
    """When a process of this machine started, in the kernel's ticks; None where that cannot be known."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else fields[18]


def has_ended(holder: Holder | None) -> bool:
    """Whether a holder is known to be gone; of one on another machine that is not known."""
    if holder is None or holder["host"] != _process(os.getpid())["host"] or holder["started"] is None:
        return False
    if (started := _started(holder["pid"])) is not None:
        return started != holder["started"]
    try:
        os.kill(holder["pid"], 0)
    except PermissionError:  # another user's, which this system hides
        return False
    except ProcessLookupError:
        pass
    return True


def describe_holder(holder: Holder | None) -> str:
    """Who it is, in words."""
    if holder is None:
        return "somebody"
    job = f"job {holder['job']}, " if holder["job"] else ""
    return f"{job}process {holder['pid']} on {holder['host'].split()[0]}"
