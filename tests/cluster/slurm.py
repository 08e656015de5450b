"""A SLURM cluster on this machine, for tests: slurmctld, a slurmd for each of four nodes, and munged.

Everything is in one folder, and ends with the process that started it. The daemons listen on the address that the
machine's own name stands for, as a rule 127.0.0.1. The nodes claim more than the machine has, and their GPUs are none:
devices with the numbers of /dev/null, which SLURM counts and hands out like others.
"""

import ctypes
import os
import re
import signal
import socket
import stat
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tests import debian

PACKAGES = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}
# Snakemake's executor takes SLURM_CONF from its jobs, so the configuration has to be where SLURM looks by itself.
CONFIGURATION = Path("/etc/slurm/slurm.conf")
HOSTS = Path("/etc/hosts")
NODES = ("cpu1", "cpu2", "gpu1", "gpu2")
GPUS = 2  # on each of gpu1 and gpu2
PARTITIONS = ("cpu", "gpu", "spot")
PORTS = range(13000, 19000, 100)

SETTINGS = """\
ClusterName=tests
SlurmctldHost={host}({address})
SlurmctldPort={port}
SrunPortRange={first_srun}-{last_srun}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A job that is requeued starts again when its credential is no longer valid: after 120 seconds, if nothing is said.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
MailProg=/bin/true
RebootProgram=/bin/false
MpiDefault=none
# No control groups, no daemon of accounts. Memory is watched every second instead.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,requeue_delay=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=20
MinJobAge=3600
ReturnToService=2
GresTypes=gpu
NodeName=DEFAULT CPUs=4 RealMemory=16000
NodeName=cpu[1-2] NodeHostname={host} NodeAddr={address} Port=[{cpu_ports}]
NodeName=gpu[1-2] NodeHostname={host} NodeAddr={address} Port=[{gpu_ports}] Gres=gpu:{gpus}
PartitionName=cpu Nodes=cpu[1-2] Default=YES MaxTime=60
PartitionName=gpu Nodes=gpu[1-2] MaxTime=60 PriorityTier=10 PreemptMode=OFF
PartitionName=spot Nodes=gpu[1-2] MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
"""


def why_not() -> str | None:
    """Why this machine cannot have a cluster; None: it can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "only root starts SLURM's daemons"
    if CONFIGURATION.exists() and not _is_ours(CONFIGURATION):
        return f"{CONFIGURATION} is another cluster's"
    return debian.why_not(PACKAGES)


class Cluster:
    """The cluster, from `start` to `stop`.

    Args:
        folder: everything of it is here, its logs too.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.daemons: list[subprocess.Popen] = []
        self.host = socket.gethostname()
        self.hosts_line = f"127.0.0.1 {self.host}  # sys2ft's tests\n"

    def start(self) -> None:
        """Start the daemons, and wait until every node is ready.

        Raises:
            TimeoutError: one is not; says what its log says.
        """
        os.environ["PATH"] += ":/usr/sbin:/sbin"
        end_jobs_of_dead_clusters()
        self._configure()
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        munge = [f"--{option}={self.folder}/munge.{suffix}" for option, suffix in files.items()]
        self._start("munged", *munge, "--force", "--foreground")  # it does not like folders that are root's alone
        self._wait("munged", lambda: call("munge", "-S", f"{self.folder}/munge.socket", "-n"))
        self._start("slurmctld", "-D")
        self._wait("slurmctld", lambda: call("scontrol", "ping"))
        for node in NODES:
            self._start("slurmd", "-D", "-N", node)
        self._wait("slurmd", self._is_ready)

    def stop(self) -> None:
        """Cancel all jobs, end what was started, and take back what was changed outside the folder."""
        if len(self.daemons) > 1:
            call("scancel", "--user=root")
            call("scancel", "--full", "--signal=KILL", "--user=root")
            _until(lambda: not call("squeue", "--noheader", "--states=RUNNING,COMPLETING").strip(), 60)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        end_jobs_of_dead_clusters()
        if _is_ours(CONFIGURATION):
            CONFIGURATION.unlink()
        if self.hosts_line in HOSTS.read_text():
            HOSTS.write_text(HOSTS.read_text().replace(self.hosts_line, ""))

    def nodes_of_steps(self, job: str) -> set[str]:
        """The nodes on which srun has started something within a job."""
        return {node for node in NODES if f" StepId={job}.0 " in (self.folder / f"slurmd{node}.log").read_text()}

    def _configure(self) -> None:
        for name in ("state", "dev", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        for number in range(GPUS):  # SLURM sets CUDA_VISIBLE_DEVICES for devices only, not for files
            os.mknod(self.folder / f"dev/gpu{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        try:
            address = socket.gethostbyname(self.host)
        except OSError:
            HOSTS.write_text(HOSTS.read_text() + self.hosts_line)
            address = "127.0.0.1"
        port = next(port for port in PORTS if all(_is_free(address, number) for number in range(port, port + 5)))
        ports = {"port": port, "cpu_ports": f"{port + 1}-{port + 2}", "gpu_ports": f"{port + 3}-{port + 4}"}
        ports |= {"first_srun": port + 10, "last_srun": port + 99}
        told = SETTINGS.format(folder=self.folder, host=self.host, address=address, gpus=GPUS, **ports)
        (self.folder / "slurm.conf").write_text(told)
        gpus = f"NodeName=gpu[1-2] Name=gpu File={self.folder}/dev/gpu[0-{GPUS - 1}]\n"
        (self.folder / "gres.conf").write_text(gpus)
        (self.folder / "cgroup.conf").write_text("CgroupMountpoint=/sys/fs/cgroup\n")
        CONFIGURATION.parent.mkdir(exist_ok=True)
        CONFIGURATION.unlink(missing_ok=True)
        CONFIGURATION.symlink_to(self.folder / "slurm.conf")

    def _start(self, *command: str) -> None:
        with (self.folder / f"{command[0]}{command[-1]}.log").open("w") as log:
            told = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
            told["env"] = os.environ | {"SLURM_CONF": f"{self.folder}/slurm.conf"}  # they look for gres.conf beside it
            self.daemons.append(subprocess.Popen(command, **told, start_new_session=True, preexec_fn=_end_with_parent))

    def _wait(self, daemon: str, is_ready) -> None:
        if not _until(is_ready, 120):  # of a machine that has much else to do
            said = "\n".join(path.read_text()[-1500:] for path in sorted(self.folder.glob(f"{daemon}*.log")))
            raise TimeoutError(f"{daemon} is not ready: {said}")

    def _is_ready(self) -> bool:
        states = call("sinfo", "--noheader", "--Node", "--format=%N %T").split("\n")
        return {line.strip() for line in states if line.strip()} == {f"{node} idle" for node in NODES}


def call(*command: str) -> str:
    """What a command of SLURM prints; nothing where it fails."""
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout


def drive_out(node: str) -> str:
    """Have a job that goes before all others want a whole node for a moment; returns the job's number."""
    wish = ["--partition=gpu", f"--nodelist={node}", "--exclusive", "--mem=100", "--time=1", "--output=/dev/null"]
    return call("sbatch", "--parsable", *wish, "--wrap=sleep 2").strip()


def end_jobs_of_dead_clusters() -> None:
    """Kill what outlives a cluster of such tests: jobs that lost their node or their parents, or whose test was killed.

    Daemons and jobs all have been told where the configuration is.
    """
    told = re.compile(rb"(?:^|\0)SLURM_CONF=([^\0]*/cluster)/slurm\.conf")
    clusters: dict[bytes, dict[int, str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if found := told.search((folder / "environ").read_bytes()):
                clusters.setdefault(found[1], {})[int(folder.name)] = (folder / "comm").read_text().strip()
    for processes in clusters.values():
        if "slurmctld" not in processes.values():
            for process in processes:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)


def _is_ours(path: Path) -> bool:
    """Whether a configuration is one of these tests, perhaps of some that were killed."""
    return path.is_symlink() and "ClusterName=tests\n" in (path.read_text() if path.exists() else "ClusterName=tests\n")


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) != 0


def _end_with_parent() -> None:
    """Of a process that is about to start: it gets SIGTERM when the one that started it ends, in whatever way."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _until(is_so, seconds: float) -> bool:
    """Wait until something is so; returns whether it came to be."""
    end = time.monotonic() + seconds
    while not (found := is_so()) and time.monotonic() < end:
        time.sleep(0.1)
    return bool(found)
