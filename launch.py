"""flaxmill's command line: flags → Config → one engine call."""

import atexit
import contextlib
import gc
import io
import os
import select
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

from engine.errors import RequestError, RunError, one_line, tell
from engine.job.signals import STOPPED, Ending, Stopped, signalled

if TYPE_CHECKING:
    from engine.command import flags


_STARVED = ("can't start new thread", "failed to map segment", "Cannot allocate memory",
            "bad_alloc")
_UNREAD = 141  # as a shell has it that SIGPIPE ended


def _carry_out(command: "flags.Command") -> int:
    request = command.request
    if command.name == "list":
        from engine.command import names

        print(names.told(command.inputs, request.place.data_dir))
        return 0
    if command.name == "completion":
        from engine.command import completion, flags

        print(completion.script(command.inputs, flags.definitions()), end="")
        return 0
    if command.name == "doctor":
        from engine.command import doctor

        return doctor.run(request.place.device, command.json, request.place.data_dir)
    from engine.devices import choose
    from engine.plan import chips
    from engine.sweep import space

    choose.check_address_space()
    choose.spare_threads(os.environ)
    for text in command.search.axes:
        space.axis(text, request.hyper)  # a mistyped axis is answered before jax is imported
    planned = chips.asked(command.plan) if command.plan else None
    if planned:  # no device is needed, and XLA's warnings of compiling without one help nobody
        os.environ |= {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    from absl import logging

    # Orbax warns of what we ask of it on purpose, and prints the errors that it raises.
    logging.set_verbosity(logging.FATAL)
    if command.summary:
        from engine.command import summary
        from engine.job import host

        print(summary.summary(request, host.begin(request.place, quiet=True)))
    elif planned:
        from engine.plan import plan

        plan.run(request, *planned)
    elif command.name == "sweep" and command.search.study:
        from engine.study import worker

        worker.run(request, command.search)
    elif command.name == "sweep":
        from engine.sweep import sweep

        sweep.run(request, command.search, command.resume)
    elif command.name == "lr-find":
        from engine.sweep import lr_find

        lr_find.run(request, command.search)
    elif command.name == "eval":
        from engine.command import scores

        scores.tell(request, command.checkpoint, command.json, command.tta, command.best_of)
    elif command.name == "predict":
        from engine.command import predictions

        predictions.tell(request, command.checkpoint, command.inputs, command.top, command.output,
                         command.tta, command.best_of)
    elif command.name == "report":
        from engine.command import comparison

        comparison.tell(request.place, command.inputs, command.output)
    elif command.name == "export":
        from engine.export import exporting

        exporting.tell(request, command.checkpoint, command.format, command.output)
    elif command.name == "serve":
        from engine.serve import server

        server.run(request, command.checkpoint, command.host, command.port, command.request_rate,
                   command.best_of)
    else:
        from engine import run

        run.fit(*request, resume=command.resume, show_memory=command.memory,
                profiled=command.profile, importances=command.importances)
    return 0


def _version() -> str:
    from importlib import metadata

    try:
        return f"flaxmill {metadata.version('flaxmill')}"
    except metadata.PackageNotFoundError:  # run from a copy of the code
        return "flaxmill, not installed"


def _job():
    """engine.job.processes where this is one of several; imported by whoever joined."""
    job = sys.modules.get("engine.job.processes")
    return job if job and job.joined() else None


def _failed(error: RequestError | RunError | Stopped, status: int) -> tuple[int, bool]:
    """Say what went wrong, in a job of many processes once, and by whom."""
    if signalled():
        error = RunError(STOPPED)
    job = _job()
    name = job.process_name() if job else ""
    if not (name and error.shared):
        tell(f"flaxmill{name and f' ({name})'}: {error}")
    return status, error.shared


def _starved(error: BaseException | None) -> bool:
    """Whether the system, or a limit as of `ulimit -v`, denied memory or a thread."""
    while error and not isinstance(error, MemoryError):
        if any(words in str(error) for words in _STARVED):
            return True
        error = error.__cause__ or error.__context__
    return error is not None


def _unread() -> bool:
    """Whether standard output is a pipe that nobody reads any more, as `| head` leaves it."""
    output = select.poll()
    output.register(1, 0)  # an error is told of whatever is asked for
    return bool(output.poll(0))


def _ended(argv: list[str]) -> tuple[int, bool]:
    """Exit status, and whether all processes of a job end so."""
    try:
        if "--version" in argv:
            print(_version())
            return 0, True
        from engine.command import flags

        command = flags.parse(argv)
        if isinstance(command, str):
            print(command)
            return 0, True
        return _carry_out(command), True
    except RequestError as error:
        return _failed(error, 2)
    except (RunError, Stopped) as error:
        return _failed(error, error.status)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        if isinstance(error, BrokenPipeError) and _unread():
            return _UNREAD, False
        return _failed(RunError(f"{error}. What was saved before is kept."), 1)
    except KeyboardInterrupt:
        return _failed(RunError(STOPPED), 130)
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):  # which Rich makes one of
            raise
        return _UNREAD, False
    except Exception as error:
        if not _starved(error):
            raise
        return _failed(RunError(
            f"this process gets no more memory or threads ({one_line(error)}): free some, or raise "
            "its limits (ulimit -a). What was saved before is kept."), 1)


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed, 2 a bad request, 3 diverged, 75 SIGTERM, 130 Ctrl-C, 141
    where nobody reads what it prints."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        status, shared = _ended(argv)
    except Exception:
        if not _job():
            raise
        traceback.print_exc()
        status, shared = 1, False
    if job := _job():
        job.leave(status, in_order=shared)
    return status


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def _leave() -> NoReturn:
    """At once: to take apart, object by object, what was imported takes longer than a second."""
    _flush()
    os._exit(0)


def process() -> NoReturn:
    """`main` as a process: a signal has its status from the first moment on, and a failure ends it
    whatever threads are left, since those of a save that couldn't begin wait for ever."""
    atexit.register(_leave)  # the first to be told is the last to be called
    # Imports and a first tracing make some 300,000 objects that nearly all live on; to look at them
    # again and again for garbage, as the interpreter does, takes a tenth of a start.
    gc.set_threshold(500_000)
    os.environ["MPLBACKEND"] = "agg"  # notebooks hand down their own, which draws in them alone
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed: its number would be the next file's to be opened
            setattr(sys, name, open(os.devnull, "r+"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # of a terminal that has no ×
    with Ending() as ending:
        try:
            status = main()
        except (Exception, KeyboardInterrupt):
            status = 1
            if ending.status:  # of which a library made an error of its own
                tell(f"flaxmill: {STOPPED}")
            else:
                traceback.print_exc()
        _flush()
        if status := ending.status or status:
            os._exit(status)
        sys.exit()


if __name__ == "__main__":
    process()
