"""A run on Ray Train's JaxTrainer: python deploy/ray_train.py RUN_DIR WORKERS --config FILE ...

A worker is one process with one GPU; RUN_DIR is on a disk that all see. Where a worker is lost, Ray
starts all again, and the run goes on from its checkpoint. Needs: pip install "ray[train]".
"""

import os
import sys
from pathlib import Path
from typing import Any

RESTARTS = 20


def train(asked: dict[str, Any]) -> None:
    """What each worker does, once Ray has initialised jax.distributed."""
    from engine import run
    from engine.command import flags

    path = asked["run_dir"]
    # No worker can have begun the run yet that another one looks for: to begin, all have to agree.
    where = "--resume" if (Path(path) / "config.json").exists() else "--run_dir"
    command = flags.parse([*asked["flags"], where, path])
    if isinstance(command, str):
        raise SystemExit(command)
    run.fit(*command.request, resume=command.resume)


def main(run_dir: str, workers: str, *words: str) -> None:
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
    JaxTrainer(
        train, train_loop_config={"run_dir": str(path), "flags": words},
        scaling_config=ScalingConfig(num_workers=count, use_gpu=True),
        run_config=RunConfig(storage_path=f"{path}.ray", worker_runtime_env={
            "env_vars": environment}, failure_config=FailureConfig(max_failures=RESTARTS)),
    ).fit()
    ray.shutdown()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
