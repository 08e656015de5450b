"""Several processes that train together: how many there are, and how they find each other.

`torchrun` and `deepspeed` tell each process in the environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR,
MASTER_PORT); under SLURM `srun` tells it in words of its own.
"""

import os
import sys
from datetime import timedelta


def world_size() -> int:
    """How many processes train together, told without importing anything heavy; 1 without a launcher."""
    if "RANK" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    # SLURM_NTASKS would also be set in a batch script, which is one process however many tasks were asked for.
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))


def join() -> None:
    """Join the other processes and take this process's GPU; does nothing the second time, or in a process alone.

    Call it before a model is loaded: `cuda` means the process's own GPU only afterwards.

    Raises:
        torch.distributed.DistNetworkError: the others were not reached.
    """
    if world_size() == 1:
        return
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    if "RANK" not in os.environ:
        _export_from_slurm()
    if torch.cuda.is_available():
        # SLURM may let a process see its own GPU alone, whatever its local rank; DeepSpeed reads LOCAL_RANK again.
        os.environ["LOCAL_RANK"] = str(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # The first process alone hashes checkpoints and exports, which takes a while for a large model.
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=timedelta(hours=2))


def _export_from_slurm() -> None:
    from submitit.helpers import TorchDistributedEnvironment

    os.environ.setdefault("SUBMITIT_EXECUTOR", "slurm")  # submitit asks for it where it did not start the job
    address = os.environ.get("MASTER_ADDR")
    # CUDA_VISIBLE_DEVICES stays as SLURM set it: the local rank need not be a number that it allows.
    TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    if address is not None:  # where the first node is reached by another name, or in another network
        os.environ["MASTER_ADDR"] = address


def meet() -> None:
    """Wait until all processes have come here."""
    if world_size() > 1:
        from torch import distributed

        distributed.barrier()


def leave() -> None:
    """Wait for the others once more and part; without it their threads may abort a process that ends."""
    if world_size() > 1:
        from torch import distributed

        meet()
        distributed.destroy_process_group()


def relaunch(nodes: int, processes: int) -> None:
    """Start this program again as many processes as are to train together; does nothing in one of them, or for one.

    On one node `torchrun` starts them and hands on the signals that ask for a checkpoint; on several `srun` does,
    within the job that holds the nodes.
    """
    if nodes * processes == 1 or world_size() > 1:
        return
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    launcher += ["--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1,SIGUSR2", "--shutdown-timeout=300"]
    if nodes > 1:
        # The numbers are said again: Snakemake's executor hides from a job what it asked for. A step without
        # --cpus-per-task may use all CPUs of the job, if its tasks are not bound to one each; --overlap shares them
        # with the step this may run in.
        launcher = ["srun", "--overlap", "--cpu-bind=none", f"--nodes={nodes}", f"--ntasks={nodes * processes}"]
        launcher += [f"--ntasks-per-node={processes}", "--kill-on-bad-exit=1", sys.executable]
        os.environ["SLURM_JOB_NUM_NODES"] = str(nodes)  # submitit counts with it, and the executor hid it too
    sys.stdout.flush()
    os.execvp(launcher[0], [*launcher, *sys.argv])
