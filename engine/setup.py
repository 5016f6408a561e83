"""Device, data and model of a request, each choice printed with its reason."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax
from jax.sharding import Sharding
from rich.console import Console

from engine import loop, memory, mesh, sources
from engine.config import Config, Durations, Hyper, durations
from engine.data import Data, partition, place
from engine.devices import choose as devices
from engine.errors import RequestError
from engine.job import presence
from engine.job import processes as job
from engine.mesh import Spread
from engine.plan import collectives
from engine.sources.dataset import Dataset
from engine.state import State, shapes
from models import build


class Setup(NamedTuple):
    """Everything settled before the first compilation. `data` and `hyper` are on the device, or on
    every device of the `spread` where a run has several; `device` is this process's first."""

    config: Config
    hyper: Hyper
    device: jax.Device
    spread: Spread | None
    dataset: Dataset
    data: Data
    model: nn.Module
    tx: optax.GradientTransformation
    lengths: Durations
    root: jax.Array
    order: jax.Array

    @property
    def shares(self) -> int:
        """Into how many parts a batch is cut."""
        return self.spread.shares if self.spread else 1

    @property
    def devices(self) -> int:
        return self.spread.mesh.size if self.spread else 1

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
        state = shapes(self.model, self.tx, self.data.train.image_shape)
        return mesh.blank(state, self.where(state))

    @property
    def inputs(self) -> dict[str, Any]:
        """What `loop.segment` takes besides the state and a count."""
        return {"hyper": self.hyper, "root": self.root, "order": self.order,
                "train": self.data.train}

    @property
    def facts(self) -> dict[str, Any]:
        """What config.json keeps of the data and the device."""
        return {
            "device": devices.describe(self.device), "classes": self.dataset.classes,
            "image_shape": self.data.train.image_shape, "fingerprint": self.dataset.fingerprint,
        }


def _everywhere(spread: Spread | None, device: jax.Device) -> Sharding:
    return mesh.everywhere(spread.mesh if spread else None, device)


def plain_console(stderr: bool = False, quiet: bool = False) -> Console:
    """A console that prints text as it is: no mark-up, no colours for numbers, no wrapping."""
    return Console(stderr=stderr, markup=False, highlight=False, soft_wrap=True, quiet=quiet)


def _fitting(config: Config, model: nn.Module, image_HxWxC: tuple[int, ...]) -> Any:
    """The model's variables as shapes. Raises RequestError where it can't take such images."""
    try:
        return jax.eval_shape(
            partial(model.init, train=False), jax.random.key(0), np.zeros((1, *image_HxWxC), "f4")
        )
    except ValueError as error:
        height, width = image_HxWxC[:2]
        raise RequestError(
            f"model {config.model} does not fit {height} × {width} images: {error}. "
            "Enlarge them, for example with --image_size 32."
        ) from None


def begin(config: Config, stderr: bool = False) -> tuple[jax.Device, Console]:
    """Join the job, choose the device, make the compile cache ready. The console speaks in the
    first process only."""
    joined = job.join(config)
    with job.naming_the_lost(), job.awaiting(config, joined):
        choice = devices.choose(config.device)
        console = plain_console(stderr, quiet=not job.first_process())
        silence = job.agreed(np.array([config.heartbeat_seconds]), np.max).item()
    if joined:
        presence.keep_meeting(silence)
        console.print(f"job: {jax.process_count()} processes; {joined}")
    console.print(f"device: {devices.describe(choice.device)} ({choice.reason})")
    compute_on(choice.device, config)
    return choice.device, console


def compute_on(device: jax.Device, config: Config) -> None:
    """Make it jax's default, and the compile cache ready where it is wanted."""
    if config.compile_cache:
        devices.enable_compile_cache(devices.compile_cache_dir())
    jax.config.update("jax_default_device", device)


def begin_alone(config: Config) -> tuple[jax.Device, Console]:
    """`begin` of a population. Raises RequestError among several processes, and for what
    splits one run."""
    if config.fsdp:
        raise RequestError("--fsdp splits one run over the devices; a population has its runs on "
                           "them, each whole: leave it out.")
    begun = begin(config)
    if jax.process_count() > 1:
        raise RequestError("a population lives in one process, on all of its devices: start one a "
                           "host, each with its own part of the values and its own --run_dir.",
                           shared=True)
    return begun


def load(config: Config) -> Dataset:
    return sources.load(config.dataset, config.data_dir, config.image_size)


def share_of(config: Config, count: int) -> int:
    """Examples of a batch that each of `count` devices computes. Raises RequestError where they
    can't share it evenly, or in whole microbatches."""
    share, rest = divmod(config.batch_size, count)
    who = f"{count} devices"
    if rest:
        near = " or ".join(str(size) for size in (share * count, (share + 1) * count) if size)
        raise RequestError(f"--batch_size {config.batch_size} is the whole job's, and {who} "
                           f"can't share it: type {near}, or take other devices.")
    if config.microbatch and share % config.microbatch:
        raise RequestError(f"--microbatch {config.microbatch} does not divide the {share} examples "
                           f"that each of {who} has of a batch.")
    return share


def _shares(config: Config, spread: Spread | None) -> str:
    """How a run is spread, in words. Raises RequestError where its batch can't be."""
    if spread is None:
        share_of(config, 1)
        return "one device, which has nothing to split" if config.fsdp else "one device"
    share, processes = share_of(config, spread.shares), jax.process_count()
    return f"{spread.mesh.size} devices of {processes} process{'es' * (processes > 1)}: each " \
           f"computes {share} of a batch's {config.batch_size} examples"


def _parts(ready: Setup) -> str:
    """What of the parameters lies in parts, in words."""
    spread, params = ready.spread, ready.state_shapes.params
    if not (spread and spread.fsdp):
        return ""
    return f"; parameters in parts: {spread.split(params):,} of {collectives.nbytes(params):,} " \
           "bytes over all that share a batch"


def settle(
    config: Config, hyper: Hyper, device: jax.Device, dataset: Dataset, console: Console,
    spread: Spread | None = None,
) -> Setup:
    """The data cut as `config` says, on the devices; the model checked against its images."""
    host = partition(dataset, config)
    num_train, image = len(host.train.rows), host.train.image_shape
    console.print(
        f"data: {dataset.name}, {num_train:,} training and {len(host.validation.rows):,} "
        f"validation images of {' × '.join(map(str, image))}"
    )
    lengths = durations(config, num_train)
    model, tx = loop.prepare(config, len(dataset.classes), hyper, lengths)
    kept = {k: v for k, v in _fitting(config, model, image).items() if k != "params"}
    shares = spread.shares if spread else 1
    size, reason = loop.microbatch_for(config, device.platform, shares, kept)
    if config.batch_size > loop.CPU_MICROBATCH * shares or size:
        console.print(f"microbatch: {size or config.batch_size // shares} ({reason})")
    order = config.seed if config.order_seed < 0 else config.order_seed
    where = _everywhere(spread, device)
    return Setup(
        config=dataclasses.replace(config, microbatch=size),
        hyper=mesh.put(jax.tree.map(np.float32, hyper), where),
        device=device,
        spread=spread,
        dataset=dataset,
        data=_placed(host, dataset, where),
        model=model,
        tx=tx,
        lengths=lengths,
        root=mesh.put(jax.random.key(config.seed), where),
        order=mesh.put(jax.random.key(order), where),
    )


def setup(config: Config, hyper: Hyper, device: jax.Device, console: Console) -> Setup:
    """Data and model of one run to train, over every device of the job."""
    spread = mesh.spread(jax.devices(device.platform), config)
    shares = _shares(config, spread)
    ready = settle(config, hyper, device, load(config), console, spread)
    if spread or config.fsdp:
        console.print(f"mesh: {shares}{_parts(ready)}")
    return ready


def _placed(host: Data, dataset: Dataset, where: Sharding) -> Data:
    """The data on the device or devices. Raises RequestError where they don't fit."""
    try:
        return place(host, where)
    except jax.errors.JaxRuntimeError as error:
        if not memory.exhausted(error):
            raise
        raise RequestError(
            f"the images of {dataset.name} don't fit the device's memory: type a smaller "
            "--image_size, or a part of the split, such as --train_split 'train[:50%]'."
        ) from None


def summary(config: Config) -> None:
    """Print the model's layers: input and output shapes, parameters, FLOPs of one image."""
    dataset = load(config)
    image = partition(dataset, config).train.image_shape
    model = build(config.model, len(dataset.classes), config.convolution)
    _fitting(config, model, image)
    table = nn.tabulate(
        model, jax.random.key(0), compute_flops=True,
        console_kwargs={"width": 130, "force_terminal": False},
    )
    print(table(np.zeros((1, *image), np.float32), train=False))
