"""Processes that cost what they do and no import: forked from one that has imported everything,
and has neither a second thread nor a device yet.

What tests a start, or what Python and jax read as they begin, takes `afresh`.
"""

import contextlib
import ctypes
import functools
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = ROOT / "launch.py"
SECONDS = 300
PR_SET_PDEATHSIG = 1
_started: list["Forked | subprocess.Popen"] = []


class Forked:
    """`python COMMAND`, and the part of subprocess.Popen that the tests use of it.

    Output goes to files, so that nobody need read; `apart` keeps what goes to standard error from
    what goes to standard output. With `reported` False runs and sweeps leave no report, whose
    pictures are half of what a short run costs.
    """

    def __init__(self, command: Sequence[object], env: Mapping[str, str], cwd: Path | None = None,
                 apart: bool = False, reported: bool = True):
        self.args, self.returncode = command, None
        self._outputs = [tempfile.TemporaryFile() for _ in range(1 + apart)]
        read, told = os.pipe()
        self._told = open(read, "rb", buffering=0)
        request = {"argv": list(map(str, command)), "env": dict(env),
                   "cwd": str(cwd or os.getcwd()), "reported": reported}
        outputs = [self._outputs[at].fileno() for at in (0, -1)]
        socket.send_fds(_door(), [json.dumps(request).encode()], [*outputs, told])
        os.close(told)
        self.pid = self._number(SECONDS)
        _started.append(self)

    def _number(self, seconds: float) -> int:
        """The next one told: the process's own, then its exit status."""
        if not select.select([self._told], [], [], seconds)[0]:
            raise subprocess.TimeoutExpired(self.args, seconds)
        return int(self._told.readline())

    def wait(self, timeout: float = SECONDS) -> int:
        if self.returncode is None:
            self.returncode = self._number(timeout)
            self._told.close()
        return self.returncode

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def communicate(self, timeout: float = SECONDS) -> tuple[str, str]:
        self.wait(timeout)
        for output in self._outputs:
            output.seek(0)
        printed, *more = (output.read().decode() for output in self._outputs)
        return printed, "".join(more)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def afresh(command: Sequence[object], env: Mapping[str, str]) -> subprocess.Popen:
    """`python COMMAND` from the beginning, in a group of its own."""
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=env, start_new_session=True)
    _started.append(process)
    return process


def end_all() -> None:
    """Kill what was started since the last time, with all that it started itself."""
    while _started:
        process = _started.pop()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


@functools.cache
def _door() -> socket.socket:
    """To the process that forks, which ends as soon as this one has."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one_thread = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
    subprocess.Popen([sys.executable, __file__, str(its.fileno())], pass_fds=[its.fileno()],
                     env=os.environ | one_thread, cwd=ROOT, stdin=subprocess.DEVNULL)
    its.close()
    return ours


def _import() -> None:
    """What runs, sweeps and their reports import."""
    import matplotlib.backends.backend_agg  # noqa: F401
    import sklearn.datasets
    import sklearn.metrics
    import sklearn.model_selection  # noqa: F401

    import engine.command.flags
    import engine.drawn.pictures
    import engine.job.host
    import engine.run
    import engine.store.manager
    import engine.sweep.sweep  # noqa: F401

    assert len(os.listdir("/proc/self/task")) == 1, "a fork would wait for the locks of the others"


def _be(request: dict, outputs: Sequence[int]) -> None:
    """Become what was asked for."""
    os.setsid()
    for number, output in enumerate(outputs, 1):
        os.dup2(output, number)
    os.closerange(3, 256)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ |= request["env"]
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", 1, closefd=False)
    sys.argv = request["argv"]
    warnings.resetwarnings()
    if not request["reported"]:
        import engine.report.run
        import engine.sweep.report

        engine.report.run.write = engine.sweep.report.write = lambda *_: None
    for folder in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        sys.path.insert(0, folder)
        if Path(folder, "sitecustomize.py").exists():
            runpy.run_path(f"{folder}/sitecustomize.py")
    runpy.run_path(sys.argv[0], run_name="__main__")


def _status(request: dict, outputs: Sequence[int]) -> int:
    try:
        _be(request, outputs)
        return 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1


def _watch(request: dict, outputs: Sequence[int], told: int) -> None:
    """Fork it; tell its number and, once it has ended, its status."""
    libc, pid = ctypes.CDLL(None), os.fork()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # none outlives the tests
    if not pid:
        status = _status(request, outputs)
        sys.stdout.flush()
        os._exit(status)
    os.write(told, b"%d\n" % pid)
    os.write(told, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _serve(door: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # which buries those that watch
    while True:
        message, descriptors, *_ = socket.recv_fds(door, 1 << 20, 3)
        if not message:
            return
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _watch(json.loads(message), descriptors[:2], descriptors[2])
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # jax's, of forks
    sys.path[0] = str(ROOT)
    _import()
    _serve(socket.socket(fileno=int(sys.argv[1])))
