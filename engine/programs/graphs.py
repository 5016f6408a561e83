"""What a GPU is given at once, as a CUDA graph, of the training: XLA calls that a command buffer.

XLA makes graphs of kernels in a row, and leaves loops and convolutions out; a loop becomes one only
where all that is in it can. These are options of one program rather than XLA_FLAGS, which jax reads
but once, when it starts.
"""

import os

from engine.errors import RequestError
from engine.optim import trees
from engine.setup import Setup

OPTION = "xla_gpu_enable_command_buffer"
KERNELS = "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,CONDITIONAL,DYNAMIC_SLICE_FUSION"
OPTIONS: dict[str, dict[str, str]] = {
    "none": {OPTION: ""}, "kernels": {}, "loops": {OPTION: f"{KERNELS},WHILE,CONVOLUTION"},
}


def check(ready: Setup) -> None:
    """Raise RequestError where --command_buffers would have no effect, or XLA_FLAGS say something
    else."""
    asked = ready.request.place.command_buffers
    if not OPTIONS[asked]:
        return
    trees.refuse(ready.config.model, f"--command_buffers {asked}")
    if ready.device.platform != "gpu":
        raise RequestError(f"--command_buffers {asked} is about what a GPU is given at once, and "
                           f"this trains on a {ready.device.platform.upper()}: leave it out, or "
                           "type --command_buffers kernels.")
    if OPTION in os.environ.get("XLA_FLAGS", ""):
        raise RequestError(f"--command_buffers {asked} and XLA_FLAGS, which has --{OPTION}, both "
                           "say what becomes a graph: leave one of them out.")


def options(ready: Setup) -> dict[str, str]:
    """XLA's, to compile the training with."""
    return OPTIONS[ready.request.place.command_buffers]
