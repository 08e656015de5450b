"""What fine-tuning leaves behind: a folder for each adapter or model, at the end and at milestones, and their digests.

adapters/<name>/             as it was at the end
adapters/<name>/samples=4/   as it was after 4 training sequences
adapters/digests.json        the base's revision, and for each folder what tells its weights from others
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from sys2ft.grid import NONE
from sys2ft.models import file_sha256, load_manifest
from sys2ft.tables import atomic_path

DIGESTS = "digests.json"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Learned:
    """One adapter or model at one moment of its training.

    Attributes:
        name: an item, `JOINT`, or 'none' for the base.
        folder: with its weights; None for the base.
        digest: what tells its weights from others; None for the base.
        samples: how many training sequences it has seen.
        milestone: whether training went on after this.
    """

    name: str
    folder: Path | None
    digest: str | None
    samples: int
    milestone: bool


THE_BASE = Learned(NONE, None, None, 0, False)


def is_milestone(before: int, after: int, end: int) -> bool:
    """Whether a power of two lies in (before, after], and the end not yet."""
    return after < end and before.bit_length() < after.bit_length()


def milestone_folder(adapters: Path, name: str, samples: int) -> Path:
    """Where the weights stand that were kept after some training sequences."""
    return adapters / name / f"samples={samples}"


def training_points(log: Sequence[Row], milestones: bool) -> list[dict[str, int]]:
    """The moments that were kept, the end last: for each name of `train_log` the sequences it had seen.

    Args:
        milestones: whether what was learned was kept along the way.
    """
    seen: dict[str, list[int]] = {}
    for row in log:
        counts = seen.setdefault(row["item"], [0])
        counts.append(counts[-1] + row["samples"])
    end = {name: counts[-1] for name, counts in seen.items()}
    kept = {
        (after, name)
        for name, counts in seen.items()
        for before, after in pairwise(counts)
        if milestones and is_milestone(before, after, counts[-1])
    }
    moments = sorted({after for after, _ in kept})
    return [{name: moment for name in seen if (moment, name) in kept} for moment in moments] + [end]


def weights_digest(folder: Path) -> str:
    """What tells two learned adapters or models apart: the start of the SHA-256 of weights and configuration."""
    digest = hashlib.sha256()
    for path in sorted((*folder.glob("*config.json"), *folder.glob("*.safetensors"))):
        digest.update(file_sha256(path).encode())
    return digest.hexdigest()[:16]


def weight_folders(folder: Path) -> list[Path]:
    """The folders with weights at and below one."""
    return sorted({path.parent for path in folder.rglob("*.safetensors")})


def write_digests(adapters: Path, manifest: Path) -> None:
    """Say of every folder with weights what they are, and which base they belong to."""
    digests = {str(folder.relative_to(adapters)): weights_digest(folder) for folder in weight_folders(adapters)}
    with atomic_path(adapters / DIGESTS) as temporary:
        temporary.write_text(json.dumps({"base": load_manifest(manifest)["revision"], "digests": digests}, indent=1))


def damaged_weights(adapters: Path) -> list[str]:
    """The folders below `adapters` whose weights are missing or are not those that were written.

    Raises:
        OSError, ValueError, KeyError: the digests cannot be read.
    """
    digests = json.loads((adapters / DIGESTS).read_text(encoding="utf-8"))["digests"]
    found = {str(folder.relative_to(adapters)) for folder in weight_folders(adapters)}
    return sorted(
        name for name in {*digests, *found} if name not in found or weights_digest(adapters / name) != digests.get(name)
    )


def find_learned(
    manifest: Path, adapters: Path, log: Sequence[Row], names: Iterable[str] = (), milestones: bool = False
) -> list[list[Learned]]:
    """What a cell learned, moment by moment, the end last; nothing is taken for what it is not.

    Args:
        manifest: the learner's `model.json`.
        adapters: the folder that fine-tuning wrote.
        log: rows of the cell's `train_log`.
        names: who must be there.
        milestones: whether what was kept along the way is wanted too.

    Raises:
        ValueError: weights are missing or are not those that were trained, or were trained on another base.
    """
    mend = "delete the folder and train the cell again"
    points = training_points(log, milestones)
    if lacking := set(names) - set(points[-1]):
        raise ValueError(f"{adapters}: nobody has learned {', '.join(sorted(lacking))}: {mend}")
    try:
        written = json.loads((adapters / DIGESTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ValueError(f"{adapters / DIGESTS} is missing or damaged: {mend}") from None
    if (revision := load_manifest(manifest)["revision"]) != written["base"]:
        raise ValueError(f"{adapters} was trained on revision {written['base']}, and {manifest} is {revision}: {mend}")
    found = []
    for number, samples in enumerate(points):
        milestone = number < len(points) - 1
        moment = []
        for name, seen in samples.items():
            folder = milestone_folder(adapters, name, seen) if milestone else adapters / name
            expected = written["digests"].get(str(folder.relative_to(adapters)))
            if expected is None or not folder.is_dir():
                raise ValueError(f"{folder} is missing: {mend}")
            if (digest := weights_digest(folder)) != expected:
                raise ValueError(f"{folder} has the digest {digest}, and {expected} was trained: {mend}")
            moment.append(Learned(name, folder, digest, seen, milestone))
        found.append(moment)
    return found
