"""The part of doctor that may crash: starts jax and computes on each device.

`python -m engine.devices.probe DEVICE` emits a Row for each finding, one of them failed where the
asked-for devices did not really compute.
"""

import functools
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from engine.devices import choose, diagnosis
from engine.devices.child import emit
from engine.devices.diagnosis import Row, Unavailable
from engine.devices.memory import total_and_free
from engine.errors import one_line

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


def main(device: str) -> None:
    """All findings on `device` (auto, cpu, gpu or tpu)."""
    emit(now="starting jax")
    try:
        first, reason = choose.pick(device)
    except Unavailable as missing:
        emit(row=Row("device", "failed", missing.found, missing.advice))
        return
    instead = device == "auto" and first.platform == "cpu" and diagnosis.nvidia_visible()
    emit(row=Row("device", "warning" if instead else "ok", reason))
    for each in jax.local_devices(backend=first.platform):
        for problem in problems(each.platform != "cpu"):
            name = f"{problem.name} on {each.platform}:{each.id}"
            emit(now=name)
            emit(row=attempt(name, problem, each))
        emit(row=Row(f"{each.platform}:{each.id}", "ok",
                     f"{choose.describe(each)}, {memory(each)}"))


@functools.cache
def problems(large: bool) -> list[Problem]:
    """A matrix product and a convolution in float32, larger where small ones would measure their
    launch."""
    def random(*shape: int) -> np.ndarray:
        return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)

    def convolved(x: jax.Array, w: jax.Array) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=layout)

    n, batch = (4096, 256) if large else (1024, 32)
    a, b = random(n, n), random(n, n)
    x, w = random(batch, 32, 32, 32), random(3, 3, 32, 64)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    expected = np.tensordot(windows, w, axes=((3, 4, 5), (2, 0, 1)))
    return [
        Problem(f"matrix product {n}²", jax.numpy.matmul, (a, b), a @ b, 2.0 * n**3),
        Problem(f"convolution 3×3 of {batch} images", convolved, (x, w), expected,
                2.0 * expected.size * 9 * 32),
    ]


def attempt(name: str, problem: Problem, device: jax.Device) -> Row:
    """Compile and run one problem on one device."""
    try:
        return Row(name, "ok", measure(problem, device))
    except Exception as error:  # whatever a runtime raises is a finding
        advice = 'pip install --force-reinstall -e "."' if device.platform != "gpu" else (
            "nvidia-smi: is the GPU's memory taken? Else "
            f"{diagnosis.install(diagnosis.kernel_driver())} in a fresh virtual environment")
        return Row(name, "failed", one_line(error), advice)


def measure(problem: Problem, device: jax.Device) -> str:
    """How fast one problem runs on one device; raises ArithmeticError where it computes wrongly."""
    function, inputs = jax.jit(problem.function), jax.device_put(problem.inputs, device)
    times = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        output = jax.block_until_ready(function(*inputs))
        times.append(time.perf_counter() - start)
    if output.devices() != {device}:
        raise ArithmeticError(f"ran on {', '.join(map(str, output.devices()))} instead")
    error = np.linalg.norm(np.asarray(output) - problem.expected) / np.linalg.norm(problem.expected)
    limit = TOLERANCE.get(device.platform, TOLERANCE_ACCELERATOR)
    if not error <= limit:  # nor NaN
        raise ArithmeticError(f"wrong result: relative error {error:.2g} against NumPy, {limit:g} "
                              "allowed")
    seconds = statistics.median(times[1:])
    return (f"{seconds * 1e3:.3g} ms, {problem.flop / seconds / 1e9:,.0f} GFLOP/s, compiled in "
            f"{times[0]:.2f} s")


def memory(device: jax.Device) -> str:
    """Free and total memory as jax may use it, in words."""
    total, free = total_and_free(device) or (0, 0)
    return f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free" if total else "memory unknown"


if __name__ == "__main__":
    main(sys.argv[1])
