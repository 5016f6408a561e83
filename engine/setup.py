"""Data and learner of a request, settled before the first compilation, each choice told."""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Sharding

from engine import bring, data, fitting, loop, memory, mesh, network, sources
from engine.config import Config, Durations, durations
from engine.data import Data
from engine.devices import choose
from engine.errors import RequestError
from engine.host import Host
from engine.learners.gradient import Gradient
from engine.mesh import Spread
from engine.sources import arrays
from engine.sources.dataset import Dataset
from engine.state import State
from engine.task import Task


class Setup(NamedTuple):
    """`data` and `hyper` lie on the device, or on every device of the `spread` where a run has
    several; `root` is the key of the run, `order` that of its shuffles."""

    config: Config
    hyper: Any
    host: Host
    spread: Spread | None
    dataset: Dataset
    data: Data
    learner: Gradient
    lengths: Durations
    root: jax.Array
    order: jax.Array

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
        return _everywhere(self.spread, self.device)

    def where(self, state: Any) -> Any:
        """A sharding for every array of a state."""
        if self.spread is None:
            return jax.tree.map(lambda _: self.everywhere, state)
        return self.spread.shardings(state)

    @property
    def state_shapes(self) -> State:
        """The state's shapes and dtypes, each with its sharding: enough to compile for."""
        state = jax.eval_shape(self.learner.create, self.hyper, self.root, self.data)
        return mesh.blank(state, self.where(state))

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


def _everywhere(spread: Spread | None, device: jax.Device) -> Sharding:
    return mesh.everywhere(spread.mesh if spread else None, device)


def load(config: Config, host: Host, given: Any = None) -> Dataset:
    """The set that the config names, or `given` as objects; its targets as the task wants them."""
    task = bring.task(config)
    if given is None and config.dataset == arrays.NAME:
        raise RequestError("its data were objects in Python: go on there, giving them again: "
                           "fit(config, data=..., resume=path), evaluate(path, data=...); or type "
                           "--config FILE.py, a recipe that has them.")
    if given is None:
        found = sources.load(config.dataset, host.place.data_dir, config.image_size)
    else:
        found = arrays.of(given, task.kind)
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


def _shares(config: Config, spread: Spread | None, fsdp: bool) -> str:
    """How a run is spread, in words. Raises RequestError where its batch can't be."""
    if spread is None:
        share_of(config, 1)
        return "one device, which has nothing to split" if fsdp else "one device"
    share, processes = share_of(config, spread.shares), jax.process_count()
    return f"{spread.mesh.size} devices of {processes} process{'es' * (processes > 1)}: each " \
           f"computes {share} of a batch's {config.batch_size} examples"


def _parts(ready: Setup) -> str:
    """What of the parameters lies in parts, in words."""
    if ready.spread is None or not ready.spread.fsdp:
        return ""
    params = ready.state_shapes.params
    split, whole = ready.spread.split(params), memory.nbytes(params)
    return f"; parameters in parts: {split:,} of {whole:,} bytes over all that share a batch"


def settle(
    config: Config, hyper: Any, dataset: Dataset, host: Host, spread: Spread | None = None
) -> Setup:
    """The data cut as `config` says, on the devices; the network checked against its inputs."""
    cut = data.partition(dataset, config)
    num_train, shape = len(cut.train.rows), cut.train.input_shape
    host.console.print(
        f"data: {dataset.name}, {num_train:,} training and {len(cut.validation.rows):,} "
        f"validation {'images' if len(shape) == 3 else 'examples'} of {' × '.join(map(str, shape))}"
    )
    if config.optimizer == "adamw" and not getattr(hyper, "weight_decay", None):
        host.console.print("optimizer: adamw without --weight_decay is adam")
    learner = learner_of(config, cut.num_outputs, spread)
    lengths = durations(config, num_train)
    variables = fitting.check(learner, hyper, lengths, cut)
    size, reason = loop.microbatch_for(
        config, host.device.platform, spread.shares if spread else 1, variables
    )
    if size or reason != loop.WHOLE_BATCH:
        told = size or config.batch_size // (spread.shares if spread else 1)
        host.console.print(f"microbatch: {told} ({reason})")
    order = config.seed if config.order_seed < 0 else config.order_seed
    where = _everywhere(spread, host.device)
    return Setup(
        config=config,
        hyper=mesh.put(jax.tree.map(np.float32, hyper), where),
        host=host,
        spread=spread,
        dataset=dataset,
        data=_placed(cut, dataset, where),
        learner=dataclasses.replace(
            learner, config=dataclasses.replace(config, microbatch=size)
        ),
        lengths=lengths,
        root=mesh.put(jax.random.key(config.seed), where),
        order=mesh.put(jax.random.key(order), where),
    )


def setup(config: Config, hyper: Any, host: Host, given: Any = None) -> Setup:
    """Data and learner of one run to train, over every device of the job."""
    spread = host.spread()
    shares = _shares(config, spread, host.place.fsdp)
    dataset = load(config, host, given)
    if given is not None:
        config = of_objects(config, dataset, host)
    ready = settle(config, hyper, dataset, host, spread)
    if spread or host.place.fsdp:
        host.console.print(f"mesh: {shares}{_parts(ready)}")
    return ready


def of_objects(config: Config, dataset: Dataset, host: Host) -> Config:
    """The config of a set without a name; a tenth is held out where it has no other part."""
    config = dataclasses.replace(config, dataset=dataset.name)
    if config.validation_split != Config.validation_split or "test" in dataset.splits:
        return config
    host.console.print("validation: a tenth of the training examples, held out, as there is no "
                       "split named test")
    return dataclasses.replace(config, validation_split="0.1")


def _placed(cut: Data, dataset: Dataset, where: Sharding) -> Data:
    """The data on the device or devices. Raises RequestError where they don't fit."""
    try:
        return data.place(cut, where)
    except jax.errors.JaxRuntimeError as error:
        if not memory.exhausted(error):
            raise
        raise RequestError(
            f"the examples of {dataset.name} don't fit the device's memory: type a smaller "
            "--image_size, or a part of the split, such as --train_split 'train[:50%]'."
        ) from None
