"""Device, data and model of a request, each choice printed with its reason."""

import dataclasses
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax
from rich.console import Console

from engine import devices, loop, sources
from engine.config import Config, Durations, Hyper, durations
from engine.data import Data, partition, place
from engine.errors import RequestError
from engine.sources.dataset import Dataset
from models import build


class Setup(NamedTuple):
    """Everything settled before the first compilation. `data` and `hyper` are on the device."""

    config: Config
    hyper: Hyper
    device: jax.Device
    dataset: Dataset
    data: Data
    model: nn.Module
    tx: optax.GradientTransformation
    lengths: Durations
    root: jax.Array
    order: jax.Array


def plain_console(stderr: bool = False) -> Console:
    """A console that prints text as it is: no mark-up, no colours for numbers, no wrapping."""
    return Console(stderr=stderr, markup=False, highlight=False, soft_wrap=True)


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


def find(config: Config, console: Console) -> tuple[jax.Device, Dataset]:
    """The device and the data set, the compile cache ready."""
    choice = devices.choose(config.device)
    console.print(f"device: {devices.describe(choice.device)} ({choice.reason})")
    if config.compile_cache:
        devices.enable_compile_cache(devices.compile_cache_dir())
    jax.config.update("jax_default_device", choice.device)
    return choice.device, sources.load(config.dataset, config.data_dir, config.image_size)


def settle(
    config: Config, hyper: Hyper, device: jax.Device, dataset: Dataset, console: Console
) -> Setup:
    """The data cut as `config` says, on the device; the model checked against its images."""
    host = partition(dataset, config)
    num_train, image = len(host.train.rows), host.train.image_shape
    console.print(
        f"data: {dataset.name}, {num_train:,} training and {len(host.validation.rows):,} "
        f"validation images of {' × '.join(map(str, image))}"
    )
    size, reason = loop.microbatch_for(config, device.platform)
    if config.batch_size > loop.CPU_MICROBATCH or size:
        console.print(f"microbatch: {size or config.batch_size} ({reason})")
    lengths = durations(config, num_train)
    model, tx = loop.prepare(config, len(dataset.classes), hyper, lengths)
    _fits(config, model, image)
    order = config.seed if config.order_seed < 0 else config.order_seed
    return Setup(
        config=dataclasses.replace(config, microbatch=size),
        hyper=jax.device_put(jax.tree.map(np.float32, hyper), device),
        device=device,
        dataset=dataset,
        data=place(host, device),
        model=model,
        tx=tx,
        lengths=lengths,
        root=jax.device_put(jax.random.key(config.seed), device),
        order=jax.device_put(jax.random.key(order), device),
    )


def setup(config: Config, hyper: Hyper, console: Console) -> Setup:
    """Device, data and model of one run."""
    return settle(config, hyper, *find(config, console), console)


def summary(config: Config) -> None:
    """Print the model's layers: input and output shapes, parameters, FLOPs of one image."""
    dataset = sources.load(config.dataset, config.data_dir, config.image_size)
    image = partition(dataset, config).train.image_shape
    model = build(config.model, len(dataset.classes), config.convolution)
    _fits(config, model, image)
    table = nn.tabulate(
        model, jax.random.key(0), compute_flops=True,
        console_kwargs={"width": 130, "force_terminal": False},
    )
    print(table(np.zeros((1, *image), np.float32), train=False))
