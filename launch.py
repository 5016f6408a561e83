"""flaxmill's command line: flags → Config → one engine call."""

import os
import sys
import traceback

from engine import flags
from engine.errors import RequestError, RunError


def _carry_out(request: flags.Request) -> int:
    if request.command == "doctor":
        from engine.devices import doctor

        return doctor.run(request.place.device, request.json, request.place.data_dir)
    from engine.devices import choose
    from engine.plan import chips
    from engine.sweep import space

    choose.spare_threads(os.environ)
    for text in request.search.axes:
        space.axis(text, request.hyper)  # a mistyped axis is answered before jax is imported
    planned = chips.asked(request.plan) if request.plan else None
    if planned:  # no device is needed, and XLA's warnings of compiling without one help nobody
        os.environ |= {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    from absl import logging

    # Orbax warns of what we ask of it on purpose, and prints the errors that it raises.
    logging.set_verbosity(logging.FATAL)
    config, hyper, place, data = request.config, request.hyper, request.place, request.data
    if request.summary:
        from engine import host, summary

        print(summary.summary(config, host.begin(place, quiet=True), data))
    elif planned:
        from engine.plan import plan

        plan.run(config, hyper, place, *planned)
    elif request.command == "sweep":
        from engine.sweep import sweep

        sweep.run(config, hyper, request.search, place, request.resume, data)
    elif request.command == "lr-find":
        from engine.sweep import lr_find

        lr_find.run(config, hyper, request.search, place, data)
    elif request.command == "eval":
        from engine import evaluation

        evaluation.tell(place.run_dir, request.checkpoint, config, place, data)
    elif request.command == "predict":
        from engine import predictions

        predictions.tell(place.run_dir, request.checkpoint, config, place, request.images)
    else:
        from engine import run

        run.fit(config, hyper, data, place, request.resume, show_memory=request.memory,
                profiled=request.profile)
    return 0


def _job():
    """engine.job.processes where this is one of several; imported by whoever joined."""
    job = sys.modules.get("engine.job.processes")
    return job if job and job.joined() else None


def _failed(error: RequestError | RunError, status: int) -> tuple[int, bool]:
    """Say what went wrong, in a job of many processes once, and by whom."""
    job = _job()
    name = job.process_name() if job else ""
    if not (name and error.shared):
        print(f"flaxmill{name and f' ({name})'}: {error}", file=sys.stderr, flush=True)
    return status, error.shared


def _ended(argv: list[str]) -> tuple[int, bool]:
    """Exit status, and whether all processes of a job end so."""
    try:
        request = flags.parse(argv)
        if request is None:
            print(flags.usage())
            return 0, True
        return _carry_out(request), True
    except RequestError as error:
        return _failed(error, 2)
    except RunError as error:
        return _failed(error, error.status)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        return _failed(RunError(f"{error}. What was saved before is kept."), 1)
    except KeyboardInterrupt:
        return _failed(RunError("stopped; what was saved before is kept."), 130)


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed, 2 a bad request, 3 diverged, 75 SIGTERM, 130 Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    if argv == ["--version"]:
        from importlib.metadata import version

        print(f"flaxmill {version('flaxmill')}")
        return 0
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


if __name__ == "__main__":
    sys.exit(main())
