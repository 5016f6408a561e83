"""deploy/slurm.sbatch on a real Slurm: two nodes of this machine, started and ended here."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ONE_DEVICE, ROOT

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "unshare")
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
missing = [name for name in DAEMONS if not shutil.which(name, path=PATH)]
if missing:
    pytest.skip(f"needs {', '.join(missing)}: apt-get install slurm-wlm munge",
                allow_module_level=True)
if os.geteuid():
    pytest.skip("needs root, which a slurmd is", allow_module_level=True)
pytestmark = pytest.mark.timeout(800)
SECONDS = 240
EPOCHS = 400
NODES = "mill1", "mill2"


class Cluster:
    """Slurm in a folder: its daemons, and its commands."""

    def __init__(self, folder: Path):
        self.folder, self._daemons = folder, list[subprocess.Popen]()
        self.env = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH}

    def __enter__(self) -> "Cluster":
        ports = [_free() for _ in range(4)]
        for name in ("state", *NODES):
            (self.folder / name).mkdir()
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost {socket.gethostname()} "
                                           f"{' '.join(NODES)}\n")
        key, munge = self.folder / "munge.key", self.folder / "munge.socket"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        (self.folder / "slurm.conf").write_text("\n".join((
            "ClusterName=mill", "SlurmctldHost=localhost", f"SlurmctldPort={ports[0]}",
            "SlurmUser=root", "SlurmdUser=root", "AuthType=auth/munge", "CredType=cred/munge",
            f"AuthInfo=socket={munge},cred_expire=15",  # which a requeued job waits for
            f"StateSaveLocation={self.folder}/state", f"SlurmdSpoolDir={self.folder}/%n/spool",
            f"SlurmctldPidFile={self.folder}/slurmctld.pid", f"SlurmdPidFile={self.folder}/%n/pid",
            f"SlurmctldLogFile={self.folder}/slurmctld.log",
            f"SlurmdLogFile={self.folder}/%n/log", "ProctrackType=proctrack/pgid",
            "TaskPlugin=task/none", "JobAcctGatherType=jobacct_gather/none", "MpiDefault=none",
            "SelectType=select/linear", "ReturnToService=2", "KillWait=5", "MinJobAge=600",
            "SchedulerParameters=sched_interval=1,batch_sched_delay=0", "SlurmdTimeout=300",
            *(f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=1"
              for name, port in zip(NODES, ports[1:], strict=False)),
            f"PartitionName=all Nodes={','.join(NODES)} Default=YES State=UP", "")))
        self._start("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge}",
                    f"--pid-file={self.folder}/munge.pid", f"--log-file={self.folder}/munge.log",
                    f"--seed-file={self.folder}/munge.seed")
        until(munge.exists, "munged", self._daemons[-1])
        self._start("slurmctld", "-D")
        for name in NODES:
            self._start("slurmd", "-D", "-N", name)
        until(lambda: self.said("sinfo", "-h", "-o", "%D %T") == "2 idle", "two idle nodes",
              *self._daemons)
        return self

    def _start(self, *words: str) -> None:
        """In a mount namespace whose /etc/hosts has the nodes' names, in a session of its own."""
        inside = f"mount --bind {self.folder}/hosts /etc/hosts && exec \"$@\""
        with open(self.folder / f"daemon{len(self._daemons)}", "wb") as log:
            self._daemons.append(subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", inside, "-", *words], env=self.env, stdout=log,
                stderr=log, start_new_session=True))

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            self.said("scancel", "--signal=KILL", "--full", "--user=root")
            self.said("scancel", "--user=root")
        for pid in self.pids(str(self.folder)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for daemon in self._daemons:
            daemon.kill()
            daemon.wait(10)

    def said(self, *words: str) -> str:
        done = subprocess.run(words, env=self.env, cwd=ROOT, capture_output=True, text=True,
                              timeout=60)
        return done.stdout.strip()

    def pids(self, *words: str) -> list[int]:
        """The processes of this cluster whose command line has these words."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (path / "cmdline").read_bytes().decode(errors="replace")
                here = str(self.folder).encode() in (path / "environ").read_bytes() + line.encode()
                if here and all(word in line for word in words) and int(path.name) != os.getpid():
                    found.append(int(path.name))
        return found


def _free() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def until(true: Callable[[], bool], what: str, *daemons: subprocess.Popen) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert all(daemon.poll() is None for daemon in daemons), f"a daemon ended before {what}"
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.05)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    # A step's socket whose path is too long for Unix keeps every job from starting.
    folder = Path(tempfile.mkdtemp(prefix="slurm"))
    made = Cluster(folder)
    try:
        made.__enter__()
    except AssertionError as error:
        logs = "".join(p.read_text(errors="replace")[-300:] for p in folder.glob("daemon*"))
        made.__exit__()
        pytest.skip(f"Slurm does not start here: {error} {logs}")
    try:
        yield made
    finally:
        made.__exit__()
        shutil.rmtree(folder)


def test_two_tasks_train_together_and_go_on_after_a_signal_and_after_a_kill(
    cluster, tmp_path, request
):
    """Without --coordinator; each time from the checkpoint."""
    run, log = tmp_path / "run", tmp_path / "log"
    request.addfinalizer(lambda: print(log.read_text() if log.exists() else "no log"))
    cluster.env |= ONE_DEVICE | {"JAX_PLATFORMS": "cpu"}
    said = cluster.said(
        "sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=0",
        "--cpus-per-task=1", f"--output={log}", "deploy/slurm.sbatch", str(run), "--dataset",
        "iris", "--model", "linear", "--batch_size", "20", "--epochs", str(EPOCHS), "--device",
        "cpu")
    assert said.isdecimal(), said

    def rows() -> list[dict]:
        with contextlib.suppress(OSError, ValueError):
            lines = (run / "history.jsonl").read_text().splitlines()
            return [json.loads(line) for line in lines]
        return []

    def state() -> str:
        return cluster.said("squeue", "-h", "-t", "all", "-o", "%T", "-j", said)

    until(lambda: len(rows()) >= 2, "a second epoch")
    cluster.said("scancel", "--signal=TERM", said)
    until(lambda: "ended with status 75; queued again" in log.read_text(), "a requeue")
    before = len(rows())
    assert before < EPOCHS
    until(lambda: len(rows()) > before + 2, "an epoch after the signal")
    tasks = [pid for pid in cluster.pids("launch.py", str(run)) if _is_task(pid)]
    os.kill(tasks[-1], signal.SIGKILL)
    until(lambda: log.read_text().count("queued again") == 2, "a requeue after the kill")
    before = len(rows())
    assert before < EPOCHS
    until(lambda: state() == "COMPLETED", "the end")
    assert [row["epoch"] for row in rows()] == [*range(1, EPOCHS + 1)]
    text = log.read_text()
    assert text.count("job: 2 processes") == 3 and (run / "metrics.json").exists(), text


def _is_task(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"SLURM_PROCID=" in Path(f"/proc/{pid}/environ").read_bytes() and \
            "python" in os.readlink(f"/proc/{pid}/exe")
    return False
