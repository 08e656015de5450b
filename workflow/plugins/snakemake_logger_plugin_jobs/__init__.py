"""A logger for Snakemake that writes the jobs of a dry run as JSON lines: `--logger jobs --logger-jobs-path FILE`.

It is found where this folder's parent is on PYTHONPATH; `sys2ft plan` and `sys2ft submit` see to that.
"""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Where the lines go."""

    # Snakemake reads the type off this annotation, and knows no `Path | None`.
    path: Optional[Path] = field(  # noqa: UP045
        default=None, metadata={"help": "File that the jobs are written to", "required": True}
    )


class LogHandler(LogHandlerBase):
    """A line a job: rule, wildcards, reason, inputs, outputs, resources, threads, command."""

    writes_to_stream = False
    writes_to_file = True
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self.stream = Path(self.settings.path).open("w", encoding="utf-8")  # noqa: SIM115  closed by `close`
        self.baseFilename = str(self.settings.path)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a job; say nothing of all else."""
        if getattr(record, "event", None) != LogEvent.JOB_INFO:
            return
        job = {
            "rule": record.rule_name,
            "wildcards": dict(record.wildcards or {}),
            "reason": record.reason,
            "input": list(record.input or ()),
            "output": list(record.output or ()),
            "resources": {name: value for name, value in record.resources.items() if name[0] != "_"},
            "threads": record.threads,
            "command": record.shellcmd,
        }
        self.stream.write(json.dumps(job, default=str) + "\n")

    def close(self) -> None:
        """Close the file."""
        self.stream.close()
        super().close()
