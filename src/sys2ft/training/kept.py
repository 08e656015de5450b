"""What a cell has learned before: whose training would be the same again is taken over, by content, and not trained.

kept/<name>/record.json      what the training depended on, its log, the digests of its weights
kept/<name>/weights/         the files of adapters/<name>, as hard links: no second copy on disk

Snakemake removes a stale cell's outputs before it runs the cell again; this folder is no output.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sys2ft.learned import weight_folders, weights_digest
from sys2ft.tables import atomic_path

LogRow = dict[str, Any]
RECORD = "record.json"


class Kept:
    """The folder with what was learned before.

    Args:
        folder: holds nothing else.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def find(self, identities: Mapping[str, str]) -> dict[str, list[LogRow]]:
        """The logs of those that were trained just so before, and whose weights are whole.

        Args:
            identities: for each name what its training depends on.
        """
        records = {name: self._read(name) for name in identities}
        return {
            name: record["log"]
            for name, record in records.items()
            if record and record["identity"] == identities[name] and self._is_whole(name, record["digests"])
        }

    def take(self, name: str, target: Path) -> None:
        """Put the weights of a name where newly trained ones would be."""
        with atomic_path(target) as temporary:
            _link(self.folder / name / "weights", temporary)

    def keep(self, logs: Mapping[str, Sequence[LogRow]], identities: Mapping[str, str], adapters: Path) -> None:
        """Remember what was learned, and remove what the cell has no use for any more.

        Args:
            logs: for each new name its log.
            identities: of all names of the cell.
            adapters: the folder with a folder of weights for each.
        """
        for name, log in logs.items():
            self._keep(name, identities[name], log, adapters / name)
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.name not in identities:
                shutil.rmtree(path)

    def _keep(self, name: str, identity: str, log: Sequence[LogRow], weights: Path) -> None:
        """On a file system without hard links nothing is kept, and it says so."""
        digests = {str(folder.relative_to(weights)): weights_digest(folder) for folder in weight_folders(weights)}
        shutil.rmtree(self.folder / name, ignore_errors=True)
        try:
            with atomic_path(self.folder / name) as temporary:
                _link(weights, temporary / "weights")
                record = {"identity": identity, "digests": digests, "log": list(log)}
                (temporary / RECORD).write_text(json.dumps(record))
        except OSError as error:
            print(
                f"{self.folder}: no hard links ({error}); after an edit of one item all are trained again", flush=True
            )

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            return json.loads((self.folder / name / RECORD).read_text())
        except (OSError, ValueError):
            return None

    def _is_whole(self, name: str, digests: Mapping[str, str]) -> bool:
        weights = self.folder / name / "weights"
        return all(weights_digest(weights / folder) == digest for folder, digest in digests.items())


def _link(source: Path, target: Path) -> None:
    """A folder of hard links to the files of another one."""
    shutil.copytree(source, target, copy_function=os.link)
