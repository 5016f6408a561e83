"""The part of doctor that may crash: starts jax and computes on each device.

`python -m engine.devices.probe DEVICE` emits, as it is found, {"now": …} what is about to be tried,
{"row": [name, status, found, advice]} a finding, and last {"computed": true} where the asked-for
devices really computed.
"""

from __future__ import annotations

import functools
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from engine.devices import choose, diagnosis
from engine.devices.child import emit
from engine.errors import RequestError, one_line
from engine.programs.memory import total_and_free

REPEATS = 7
# Relative error in the 2-norm: TF32 gives about 5e-4 and bfloat16, a TPU's default, 3e-3.
TOLERANCE = {"cpu": 1e-4}
TOLERANCE_ACCELERATOR = 1e-2


class Problem(NamedTuple):
    """A computation with its inputs, what NumPy makes of them, and its cost."""

    name: str
    function: Callable[[jax.Array, jax.Array], jax.Array]
    inputs: tuple[np.ndarray, np.ndarray]
    expected: np.ndarray
    flop: float


def row(name: str, status: str, found: str, advice: str = "") -> bool:
    """Report one row; returns whether it is ok."""
    emit(row=[name, status, found, advice])
    return status == "ok"


def main(device: str) -> None:
    """All findings on `device` (auto, cpu, gpu or tpu)."""
    emit(now="starting jax")
    try:
        choice = choose.choose(device) if device == "auto" else None
        first = choice.device if choice else choose.find(device)
    except diagnosis.Unavailable as missing:
        row("device", "failed", missing.found, missing.advice)
        return
    except RequestError as error:
        row("device", "failed", one_line(error), "unset JAX_PLATFORMS XLA_FLAGS")
        return
    fallback = choice is not None and first.platform == "cpu" and diagnosis.nvidia_visible()
    reason = choice.reason if choice else f"{device}: asked for with --device {device}"
    row("device", "warning" if fallback else "ok", reason)
    asked = jax.local_devices(backend=first.platform)
    others = jax.local_devices(backend="cpu") if first.platform != "cpu" else []
    listed = "; ".join(f"{name_of(d)} {choose.describe(d)}" for d in asked + others)
    row("devices jax sees", "ok", listed)
    results = [examine(d) for d in asked]
    for other in others:
        examine(other)
    emit(computed=all(results))


def examine(device: jax.Device) -> bool:
    """Compute on one device and read its memory; whether it computed rightly."""
    problems = (matrix_product, convolution)
    results = [attempt(make(device.platform != "cpu"), device) for make in problems]
    row(f"memory of {name_of(device)}", "ok", memory(device))
    return all(results)


def name_of(device: jax.Device) -> str:
    """A device's name as rows show it."""
    return f"{device.platform}:{device.id}"


@functools.cache
def matrix_product(large: bool) -> Problem:
    """A square float32 matrix product, larger where a small one would measure its launch."""
    n = 4096 if large else 1024
    a, b = _random((n, n)), _random((n, n))
    return Problem(f"matrix product {n}²", lambda x, y: x @ y, (a, b), a @ b, 2.0 * n**3)


@functools.cache
def convolution(large: bool) -> Problem:
    """A 3×3 convolution as in an image model."""
    batch, size, c_in, c_out = (256 if large else 32), 32, 32, 64
    x, w = _random((batch, size, size, c_in)), _random((3, 3, c_in, c_out))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    expected = np.tensordot(windows, w, axes=((3, 4, 5), (2, 0, 1)))
    flop = 2.0 * expected.size * 9 * c_in
    return Problem(f"convolution 3×3 of {batch} images", _convolve, (x, w), expected, flop)


def _random(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _convolve(x: jax.Array, w: jax.Array) -> jax.Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=layout)


def attempt(problem: Problem, device: jax.Device) -> bool:
    """Compile and run one problem on `device`, and report it."""
    name = f"{problem.name} on {name_of(device)}"
    emit(now=name)
    try:
        return row(name, *measure(problem, device))
    except Exception as error:  # whatever a runtime raises is a finding
        return row(name, "failed", one_line(error), _advice(device))


def _advice(device: jax.Device) -> str:
    if device.platform != "gpu":
        return 'pip install --force-reinstall -e "."'
    return (
        "nvidia-smi: is the GPU's memory taken? Else "
        + diagnosis.install_advice(diagnosis.kernel_driver())
        + " in a fresh virtual environment"
    )


def measure(problem: Problem, device: jax.Device) -> tuple[str, str, str]:
    """Status, finding and advice of one problem run on one device."""
    function = jax.jit(problem.function)
    inputs = [jax.device_put(x, device) for x in problem.inputs]
    start = time.perf_counter()
    output = jax.block_until_ready(function(*inputs))
    first = time.perf_counter() - start
    if output.devices() != {device}:
        where = ", ".join(map(str, output.devices()))
        return "failed", f"ran on {where} instead", _advice(device)
    if wrong := disagreement(np.asarray(output), problem.expected, device.platform):
        return "failed", wrong, _advice(device)
    seconds = statistics.median(_timed(function, inputs) for _ in range(REPEATS))
    rate = problem.flop / seconds / 1e9
    return "ok", f"{seconds * 1e3:.3g} ms, {rate:,.0f} GFLOP/s, compiled in {first:.2f} s", ""


def _timed(function: Callable[..., jax.Array], inputs: list[jax.Array]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function(*inputs))
    return time.perf_counter() - start


def disagreement(output: np.ndarray, expected: np.ndarray, platform: str) -> str:
    """How far a device's result is from NumPy's, in words, or '' where it is near enough."""
    error = float(np.linalg.norm(output - expected) / np.linalg.norm(expected))
    limit = TOLERANCE.get(platform, TOLERANCE_ACCELERATOR)
    if error <= limit:  # written so that NaN disagrees
        return ""
    return f"wrong result: relative error {error:.2g} against NumPy, {limit:g} allowed"


def memory(device: jax.Device) -> str:
    """Free and total memory as jax may use it, in words."""
    found = total_and_free(device)
    if device.platform == "cpu":
        if found is None:
            return f"{_gib(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))} in all"
        return f"{_gib(found[1])} free of {_gib(found[0])}"
    if found is None:
        return "not reported"
    return f"{_gib(found[1])} of the {_gib(found[0])} that jax may take are free"


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


if __name__ == "__main__":
    main(sys.argv[1])
