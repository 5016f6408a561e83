"""Data and learner of a request, settled before the first compilation, each choice told."""

import dataclasses

import jax
import numpy as np

from engine import data
from engine.devices import choose, memory, mesh
from engine.devices.mesh import ALONE, Spread
from engine.doors import bring, precision, rounds, weights
from engine.job.host import Host
from engine.learners import threshold
from engine.learners.chosen import learner_of, share_of, spread_of
from engine.parts import inventory
from engine.parts.reading import featured, load
from engine.request import Request
from engine.sets import splits
from engine.sets.bundle import Encoder
from engine.sets.dataset import Dataset
from engine.setup import Setup
from engine.store import generator
from engine.stream import choice


def settle(
    request: Request, dataset: Dataset, host: Host, spread: Spread = ALONE,
    columns: Encoder | None = None,
) -> Setup:
    """The data cut as asked, on the devices, a table's by the `columns` of a run where there is
    one; the network checked against its inputs."""
    config, say = request.config, host.console.print
    dataset, cut, columns = featured(request, dataset, columns)
    judges, judged = data.judging(dataset, config.parts)
    told = inventory.judged_by(dataset, config.parts, judges)
    found = inventory.taken(dataset, cut, f"validation: {told}")
    for line in found.lines():
        say(line)
    learner = learner_of(config, cut.num_outputs, spread, columns)
    threshold.check_validation(cut.validation, dataset.classes, config.choose_threshold)
    if config.precision == "bf16":
        on_cpu = precision.ON_CPU if host.device.platform == "cpu" else ""
        say(f"precision: {precision.REASON}{on_cpu}")
    if caution := getattr(learner.task, "caution", ""):
        say(f"loss: {learner.task.loss_name}; {caution}")  # type: ignore[attr-defined]
    task = weights.weighted(learner.task, config.class_weights, dataset.classes, cut.train.targets)
    for line in weights.told(task, dataset.classes, cut.train):
        say(line)
    learner = dataclasses.replace(learner, task=task)
    learner = learner.settled(request.hyper, cut, host.device.platform, say)
    lengths = learner.lengths(len(cut.train.rows))
    learner.monitor(request.hyper)  # raises for an unknown score
    facts = {
        "device": choose.describe(host.device), "classes": dataset.classes,
        "image_shape": cut.train.input_shape, "input_dtype": str(cut.train.split.inputs.dtype),
        "fingerprint": dataset.fingerprint, "files": bring.digests(config),
        "data": found._asdict(), "held_out": splits.DRAWN,
    } | generator.facts() | ({"columns": columns.digest} if columns else {}) \
        | {what: names for what in ("pixels", "target") if (names := getattr(dataset, what))}
    order = config.seed if config.order_seed < 0 else config.order_seed
    ready = Setup(
        request, jax.tree.map(np.float32, request.hyper), host, dataset, columns, data=cut,
        judges=judges, judged=judged, learner=learner, lengths=lengths, facts=facts,
        root=jax.random.key(config.seed), order=jax.random.key(order),
    )
    where = ready.everywhere
    ready = ready._replace(**{name: mesh.put(getattr(ready, name), where)
                              for name in ("hyper", "root", "order")})
    return choice.laid(ready)


def setup(request: Request, host: Host) -> Setup:
    """Data and learner of one run to train, over every device of the job."""
    spread, say = spread_of(request, host), host.console.print
    share = share_of(request.config, spread.shares)
    if (config := rounds.in_rounds(request.config)) != request.config:
        say("epochs: 1, since a random forest is one round of all its trees")
        request = request._replace(config=config)
    ready = settle(*load(request, host), host, spread)
    if not spread.mesh:
        if request.place.fsdp:
            say("mesh: one device, which has nothing to split")
        return ready
    parts, processes = "", jax.process_count()
    if spread.fsdp:
        params = ready.state_shapes.params
        parts = (f"; parameters in parts: {spread.split(params):,} of {memory.nbytes(params):,} "
                 "bytes over all that share a batch")
    say(f"mesh: {spread.shares} devices of {processes} process{'es' * (processes > 1)}: each "
        f"computes {share} of a batch's {request.config.batch_size} examples{parts}")
    return ready
