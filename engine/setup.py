"""Device, data and model of a request, each choice printed with its reason."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax
from jax.sharding import Mesh, Sharding
from rich.console import Console

from engine import devices, loop, memory, mesh, sources
from engine.config import Config, Durations, Hyper, durations
from engine.data import Data, partition, place
from engine.errors import RequestError
from engine.sources.dataset import Dataset
from engine.state import State, shapes
from models import build


class Setup(NamedTuple):
    """Everything settled before the first compilation. `data` and `hyper` are on the device, or on
    every device of the `mesh` where a run has several; `device` is this process's first."""

    config: Config
    hyper: Hyper
    device: jax.Device
    mesh: Mesh | None
    dataset: Dataset
    data: Data
    model: nn.Module
    tx: optax.GradientTransformation
    lengths: Durations
    root: jax.Array
    order: jax.Array

    @property
    def devices(self) -> int:
        return mesh.size(self.mesh)

    @property
    def everywhere(self) -> Sharding:
        return mesh.everywhere(self.mesh, self.device)

    def where(self, state: Any) -> Any:
        """A sharding for every array of a state."""
        if self.mesh is None:
            return jax.tree.map(lambda _: self.everywhere, state)
        return mesh.shardings(self.mesh, state, self.config.fsdp)

    @property
    def state_shapes(self) -> State:
        """The state's shapes and dtypes, each with its sharding: enough to compile for."""
        state = shapes(self.model, self.tx, self.data.train.image_shape)
        return jax.tree.map(
            lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where),
            state, self.where(state),
        )

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


def plain_console(stderr: bool = False, quiet: bool = False) -> Console:
    """A console that prints text as it is: no mark-up, no colours for numbers, no wrapping."""
    return Console(stderr=stderr, markup=False, highlight=False, soft_wrap=True, quiet=quiet)


def _fits(config: Config, model: nn.Module, image_HxWxC: tuple[int, ...]) -> None:
    try:
        jax.eval_shape(
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
    joined = mesh.join(config)
    choice = devices.choose(config.device)
    console = plain_console(stderr, quiet=not mesh.first_process())
    if joined:
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
    """`begin` of a population. Raises RequestError among several processes, and for --fsdp."""
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
    if rest:
        near = " or ".join(str(size) for size in (share * count, (share + 1) * count) if size)
        raise RequestError(f"--batch_size {config.batch_size} is the whole job's, and {count} "
                           f"devices can't share it: type {near}, or take other devices.")
    if config.microbatch and share % config.microbatch:
        raise RequestError(f"--microbatch {config.microbatch} does not divide the {share} examples "
                           f"that each of {count} devices has of a batch.")
    return share


def _shares(config: Config, over: Mesh | None) -> str:
    """How a batch is spread, in words. Raises RequestError where it can't be."""
    count = mesh.size(over)
    share = share_of(config, count)
    if over is None:
        return "one device, which has nothing to split" if config.fsdp else "one device"
    split = "parameters and optimizer state split over all" if config.fsdp else "data-parallel"
    processes = jax.process_count()
    return f"{count} devices of {processes} process{'es' * (processes > 1)}, {split}: " \
           f"each computes {share} of a batch's {config.batch_size} examples"


def settle(
    config: Config, hyper: Hyper, device: jax.Device, dataset: Dataset, console: Console,
    over: Mesh | None = None,
) -> Setup:
    """The data cut as `config` says, on the devices; the model checked against its images."""
    host = partition(dataset, config)
    num_train, image = len(host.train.rows), host.train.image_shape
    console.print(
        f"data: {dataset.name}, {num_train:,} training and {len(host.validation.rows):,} "
        f"validation images of {' × '.join(map(str, image))}"
    )
    count = mesh.size(over)
    size, reason = loop.microbatch_for(config, device.platform, count)
    if config.batch_size > loop.CPU_MICROBATCH * count or size:
        console.print(f"microbatch: {size or config.batch_size // count} ({reason})")
    lengths = durations(config, num_train)
    model, tx = loop.prepare(config, len(dataset.classes), hyper, lengths)
    _fits(config, model, image)
    order = config.seed if config.order_seed < 0 else config.order_seed
    where = mesh.everywhere(over, device)
    return Setup(
        config=dataclasses.replace(config, microbatch=size),
        hyper=mesh.put(jax.tree.map(np.float32, hyper), where),
        device=device,
        mesh=over,
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
    over = mesh.over(device, mesh.DATA)
    shares = _shares(config, over)
    if over is not None or config.fsdp:
        console.print(f"mesh: {shares}")
    return settle(config, hyper, device, load(config), console, over)


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
    _fits(config, model, image)
    table = nn.tabulate(
        model, jax.random.key(0), compute_flops=True,
        console_kwargs={"width": 130, "force_terminal": False},
    )
    print(table(np.zeros((1, *image), np.float32), train=False))
