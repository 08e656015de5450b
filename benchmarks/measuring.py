"""What the benchmarks have in common: the model, measurements in processes of their own, and what else was running."""

import dataclasses
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MODEL = "smollm2-135m"
TINY = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 2048,
}  # fmt: skip


def prepare_model(folder: Path, tiny: bool = False) -> str:
    """The folder of the embedded model, converted where it is not yet.

    Args:
        tiny: a tiny random one, to test a program.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if tiny:
        settings: dict[str, Any] = {"source": {"kind": "random", "architecture": "llama", "shape": TINY}}
        settings["dtype"] = "float32"
    elif (folder / "model.json").exists():
        return str(folder)
    else:
        import yaml

        configured = yaml.safe_load((ROOT / "config/config.yaml").read_text())["models"][MODEL]
        settings = {key: configured[key] for key in ("source", "dtype")}
    (folder / "settings.json").write_text(json.dumps(settings))
    command = [sys.executable, ROOT / "workflow/scripts/prepare_model.py", "--settings", json.dumps(settings)]
    command += ["--output-weights", folder / "weights", "--output-manifest", folder / "model.json"]
    subprocess.run(command, check=True, cwd=ROOT)
    return str(folder)


def measure_apart(program: str, job: Any) -> dict[str, Any] | None:
    """What `program --job` prints on its last line; None where the GPU's memory does not do.

    Args:
        job: a dataclass.
    """
    command = [sys.executable, program, "--job", json.dumps(dataclasses.asdict(job))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "MemoryError" in done.stderr:
        return None
    if done.returncode:
        sys.exit(f"{job} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


class Others:
    """How many cores everything else on the machine has used since this was made."""

    def __init__(self) -> None:
        self.began, self.before = time.perf_counter(), _other_cpu_seconds()

    def cores(self) -> float:
        """The mean since then."""
        return (_other_cpu_seconds() - self.before) / (time.perf_counter() - self.began)


def _other_cpu_seconds() -> float:
    """What all processes but this one have computed since the machine started."""
    import psutil

    machine, own = psutil.cpu_times(), psutil.Process().cpu_times()
    return sum(machine) - machine.idle - getattr(machine, "iowait", 0.0) - own.user - own.system


def peak_memory() -> float:
    """The most that the process has held so far, in GB; of the GPU's memory where there is one."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def read_clock() -> float:
    """Seconds, after what the GPU has to do is done."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def warn_of_others(cores: float) -> None:
    """Say it where others used much of the machine during a measurement."""
    if cores > 0.2:
        print(f"others used up to {cores:.1f} cores meanwhile: do not trust the times above", file=sys.stderr)
