"""What learns, of a request, and over which devices."""

import dataclasses
from typing import Any

import jax

from engine.config import Config, is_ours
from engine.devices.mesh import ALONE, Spread
from engine.doors import bring, handed, network, precision
from engine.errors import RequestError
from engine.job.host import Host
from engine.learners import threshold
from engine.learners.gradient import Gradient
from engine.optim import trees
from engine.request import Request
from engine.sets.bundle import Bundle, Encoder
from engine.tasks.regression import Regression


def task_of(asked: Config, columns: Encoder | None) -> Any:
    """The task of a config, as a table's `columns` want it; trees' is of the targets as they are.
    """
    task = bring.task(asked)
    if columns and type(task) is Regression and not trees.values_of(asked.model):
        # A subclass may have a loss of its own.
        task = dataclasses.replace(task, mean=columns.target_mean, scale=columns.target_scale)
    return task


def learner_of(
    config: Config, num_outputs: int, spread: Spread = ALONE,
    columns: Encoder | None = None,
) -> Any:
    """What learns, a Learner: the network, or trees, and the task of a config, as a table's
    `columns` want them. Raises RequestError for what is none."""
    task, embeddings = task_of(config, columns), columns.embeddings if columns else ()
    if isinstance(columns, Bundle) and is_ours(config.model):
        raise RequestError(f"model {config.model} takes one array, and the inputs are {columns}: "
                           "give a network of your own, which gets a dictionary of them.")
    threshold.check(task, num_outputs, config.choose_threshold)
    if trees.values_of(config.model):
        trees.check_library(config.model)
        from engine.learners import boosting  # late: it imports XGBoost

        return boosting.Boosting(config, task, num_outputs, embeddings)
    made: Any = network.of(config.model, num_outputs, embeddings)
    if config.precision == "bf16":
        made = precision.narrow(made)
    if isinstance(columns, Bundle):
        made = handed.Unpacked(made, columns)
    elif not is_ours(config.model):
        made = handed.Coded(made)
    return Gradient(config, made, task, spread, num_outputs)


def share_of(config: Config, count: int) -> int:
    """Examples of a batch that each of `count` devices computes. Raises RequestError where they
    can't share it evenly, or in whole microbatches."""
    share, rest = divmod(config.batch_size, count)
    if rest:
        near = " or ".join(str(size) for size in (share * count, (share + 1) * count) if size)
        raise RequestError(f"--batch_size {config.batch_size} is the whole job's, and {count} "
                           f"devices can't share it: type {near}, or take other devices.")
    if config.microbatch and share % config.microbatch:
        raise RequestError(f"--microbatch {config.microbatch} does not divide the {share} examples "
                           f"that each of {count} devices has of a batch.")
    return share


def spread_of(request: Request, host: Host) -> Spread:
    """Of a run, over every device of the job; trees learn on the first one. Raises RequestError for
    trees among several processes, or in parts."""
    spread, model = host.spread(request.place.fsdp), request.config.model
    if not trees.values_of(model):
        return spread
    if request.place.fsdp or jax.process_count() > 1:
        raise RequestError(f"--model {model} learns in one process, on one device: leave --fsdp "
                           "out, and start one.", shared=True)
    if spread.mesh:
        host.console.print(f"mesh: of {spread.shares} devices, {model} learns on the first")
    return ALONE
