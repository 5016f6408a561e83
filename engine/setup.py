"""Data and learner of a request, settled before the first compilation, each choice told."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Sharding

from engine import data, loop, sources
from engine.config import Config, Durations, durations, is_ours
from engine.data import Data
from engine.devices import choose, mesh
from engine.devices.mesh import Spread
from engine.doors import bring, fitting, network
from engine.errors import RequestError
from engine.formulation.rewriting import census
from engine.job.host import Host
from engine.learners.gradient import Gradient
from engine.programs import memory
from engine.request import Request
from engine.sources import arrays
from engine.sources.dataset import Dataset
from engine.sources.stored import Stored
from engine.state import State
from engine.stream import stream
from engine.stream.stream import Stream
from engine.task import Task


class Setup(NamedTuple):
    """`data` and `hyper` lie on the device, or on every device of the `spread` where a run has
    several; `root` is the key of the run, `order` that of its shuffles. Where there is a `stream`,
    the inputs of `data` are a chunk's shape alone."""

    request: Request
    hyper: Any
    host: Host
    spread: Spread | None
    dataset: Dataset
    data: Data
    learner: Gradient
    lengths: Durations
    root: jax.Array
    order: jax.Array
    stream: Stream | None = None

    @property
    def config(self) -> Config:
        return self.request.config

    @property
    def task(self) -> Task:
        return self.learner.task

    @property
    def device(self) -> jax.Device:
        return self.host.device

    @property
    def shares(self) -> int:
        """Into how many parts a batch is cut."""
        return self.spread.shares if self.spread else 1

    @property
    def everywhere(self) -> Sharding:
        return mesh.everywhere(self.spread.mesh if self.spread else None, self.device)

    def where(self, state: Any) -> Any:
        """A sharding for every array of a state."""
        if self.spread is None:
            return jax.tree.map(lambda _: self.everywhere, state)
        return self.spread.shardings(state)

    @property
    def state_shapes(self) -> State:
        """The state's shapes and dtypes, each with its sharding: enough to compile for."""
        state = jax.eval_shape(self.create, self.hyper, self.root)
        return mesh.blank(state, self.where(state))

    def create(self, hyper: Any, root: jax.Array) -> State:
        """The state before the first update."""
        return self.learner.create(hyper, root, self.data)

    @property
    def inputs(self) -> dict[str, Any]:
        """What `learner.segment` takes besides the state and a count."""
        return {"hyper": self.hyper, "root": self.root, "order": self.order,
                "train": self.data.train}

    @property
    def facts(self) -> dict[str, Any]:
        """What config.json keeps of the data and the device."""
        train = self.data.train
        return {
            "device": choose.describe(self.device), "classes": self.dataset.classes,
            "image_shape": train.input_shape, "input_dtype": str(train.split.inputs.dtype),
            "fingerprint": self.dataset.fingerprint, "files": bring.digests(self.config),
        }


def load(request: Request, host: Host) -> Dataset:
    """The set that is named, or given as objects; its targets as the task wants them."""
    config, task = request.config, bring.task(request.config)
    if request.data is not None:
        found = arrays.of(request.data, task.kind, stream=request.place.stream)
    elif config.dataset != arrays.NAME:
        found = sources.load(config.dataset, request.place.data_dir, config.reading,
                             stream=request.place.stream)
    else:
        raise RequestError("its data were objects in Python: go on there, giving them again: "
                           "fit(config, data=..., resume=path), evaluate(path, data=...); or type "
                           "--config FILE.py, a recipe that has them.")
    suited, told = data.suited(found, task.kind)
    if told:
        host.console.print(f"targets: {told}")
    return suited


def learner_of(config: Config, num_outputs: int, spread: Spread | None = None) -> Gradient:
    """What learns: the network and the task of a config. Raises RequestError for what is none."""
    return Gradient(config, network.of(config.model, num_outputs), bring.task(config), spread)


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


def settle(request: Request, dataset: Dataset, host: Host, spread: Spread | None = None) -> Setup:
    """The data cut as asked, on the devices; the network checked against its inputs."""
    config, tell = request.config, host.console.print
    cut = data.partition(dataset, config)
    num_train, shape = len(cut.train.rows), cut.train.input_shape
    kind = "images" if len(shape) == 3 else "examples"
    tell(f"data: {dataset.name}, {num_train:,} training and {len(cut.validation.rows):,} "
         f"validation {kind} of {' × '.join(map(str, shape))}")
    if config.optimizer == "adamw" and not getattr(request.hyper, "weight_decay", None):
        tell("optimizer: adamw without --weight_decay is adam")
    learner = learner_of(config, cut.num_outputs, spread)
    lengths = durations(config, num_train)
    variables = fitting.check(learner, request.hyper, lengths, cut)
    if not is_ours(config.model):
        _tell_formulation(learner, variables, shape, host)
    shares = spread.shares if spread else 1
    size, reason = loop.microbatch_for(config, host.device.platform, shares, variables)
    if reason != loop.WHOLE_BATCH:
        tell(f"microbatch: {size or config.batch_size // shares} ({reason})")
    learner = dataclasses.replace(learner, config=dataclasses.replace(config, microbatch=size))
    order = config.seed if config.order_seed < 0 else config.order_seed
    ready = Setup(
        request, jax.tree.map(np.float32, request.hyper), host, spread, dataset, cut, learner,
        lengths, jax.random.key(config.seed), jax.random.key(order),
    )
    where = ready.everywhere
    ready = ready._replace(**{name: mesh.put(getattr(ready, name), where)
                              for name in ("hyper", "root", "order")})
    reason = _streamed(request, cut, host)
    if not reason:
        try:
            return ready._replace(data=data.place(cut, where))
        except jax.errors.JaxRuntimeError as error:
            if not memory.exhausted(error):
                raise
            reason = "it doesn't fit the device's memory"
    streamed = stream.stream_of(ready, reason)
    tell(f"stream: {streamed}")
    return ready._replace(data=streamed.given(cut, where), stream=streamed)


def _streamed(request: Request, cut: Data, host: Host) -> str:
    """Why the examples are to be streamed; '' where they are to lie on the device."""
    splits = {id(part.split): part.split.inputs for part in (cut.train, cut.validation)}.values()
    need = sum(math.prod(x.shape) * x.dtype.itemsize for x in splits) / 1e9
    room = memory.free(host.device)
    if request.place.stream:
        return "as asked"
    if isinstance(cut.train.split.inputs, Stored):
        return cut.train.split.inputs.reason
    if room is not None and need > room / 1e9:
        return f"its {need:,.1f} GB don't fit the {room / 1e9:,.1f} GB that the device has free"
    return ""


def _tell_formulation(
    learner: Gradient, variables: Any, input_shape: tuple[int, ...], host: Host
) -> None:
    """How the convolutions of a network are computed, in words."""
    if host.device.platform == "cpu" and learner.config.convolution != "direct":
        inputs = jax.ShapeDtypeStruct((2, *input_shape), np.float32)
        found = census(lambda v, x: learner.network.apply(v, x, False)[0], variables, inputs)
        if found.convolutions:
            host.console.print(f"formulation: {found}")


def setup(request: Request, host: Host) -> Setup:
    """Data and learner of one run to train, over every device of the job."""
    spread, tell = host.spread(request.place.fsdp), host.console.print
    share = share_of(request.config, spread.shares if spread else 1)
    dataset = load(request, host)
    ready = settle(of_objects(request, dataset, host), dataset, host, spread)
    if ready.stream:  # which a resumed run is to do again, whatever memory it finds
        place = dataclasses.replace(request.place, stream=True)
        ready = ready._replace(request=ready.request._replace(place=place))
    if not spread:
        if request.place.fsdp:
            tell("mesh: one device, which has nothing to split")
        return ready
    parts, processes = "", jax.process_count()
    if spread.fsdp:
        params = ready.state_shapes.params
        parts = (f"; parameters in parts: {spread.split(params):,} of {memory.nbytes(params):,} "
                 "bytes over all that share a batch")
    tell(f"mesh: {spread.mesh.size} devices of {processes} process{'es' * (processes > 1)}: each "
         f"computes {share} of a batch's {request.config.batch_size} examples{parts}")
    return ready


def of_objects(request: Request, dataset: Dataset, host: Host) -> Request:
    """The request, its data without a name named; a tenth is held out where they have no part to
    validate on."""
    if request.data is None:
        return request
    config = dataclasses.replace(request.config, dataset=dataset.name)
    if config.validation_split == Config.validation_split and "test" not in dataset.splits:
        host.console.print("validation: a tenth of the training examples, held out, as there is no "
                           "split named test")
        config = dataclasses.replace(config, validation_split="0.1")
    return request._replace(config=config)
