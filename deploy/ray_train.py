"""A run on Ray Train's JaxTrainer: python deploy/ray_train.py RUN_DIR WORKERS --config FILE ...

A worker is one process with one GPU; RUN_DIR is on a disk that all see. Where a worker is lost, Ray
starts all again, and the run goes on from its checkpoint. A bad request (status 2) and a run that
diverged (3) end it. Needs: pip install "ray[train]".
"""

import os
import sys
from pathlib import Path
from typing import Any

from engine.command import flags
from engine.errors import RequestError, RunError, tell

RESTARTS = 20
BAD_REQUEST, DIVERGED = 2, 3  # which no other start would mend


def train(asked: dict[str, Any]) -> int:
    """What each worker does, once Ray has initialised jax.distributed: the exit status."""
    from absl import logging

    from engine import run

    logging.set_verbosity(logging.FATAL)  # Orbax tells of each file, and Ray would print it
    path = asked["run_dir"]
    # No worker can have begun the run yet that another one looks for: to begin, all have to agree.
    where = "--resume" if (Path(path) / "config.json").exists() else "--run_dir"
    try:
        command = flags.parse([*asked["flags"], where, path])
        run.fit(*command.request, resume=command.resume)
    except (RequestError, RunError) as error:
        status = getattr(error, "status", BAD_REQUEST)
        if status not in (BAD_REQUEST, DIVERGED):
            raise
        tell(f"flaxmill: {error}")
        return status
    return 0


def main(run_dir: str, workers: str, *words: str) -> int:
    """The exit status."""
    try:
        command = flags.parse([*words, "--run_dir", run_dir])  # told before Ray starts
    except RequestError as error:
        tell(f"flaxmill: {error}")
        return BAD_REQUEST
    if isinstance(command, str):
        print(command)
        return 0
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.v2.jax import JaxTrainer

    path, count = Path(run_dir).absolute(), int(workers)
    # On CPUs too a worker needs a GPU, if a logical one: else Ray leaves jax.distributed alone.
    on_cpus = os.environ.get("JAX_PLATFORMS") == "cpu"
    ray.init(num_gpus=count if on_cpus else None)
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if on_cpus:
        environment["JAX_PLATFORMS"] = "cpu"
    done = JaxTrainer(
        train, train_loop_config={"run_dir": str(path), "flags": words},
        scaling_config=ScalingConfig(num_workers=count, use_gpu=True),
        run_config=RunConfig(storage_path=f"{path}.ray", worker_runtime_env={
            "env_vars": environment}, failure_config=FailureConfig(max_failures=RESTARTS)),
    ).fit()
    ray.shutdown()
    return done.return_value or 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
