"""The kernels, compiled by the user's compiler for this processor, and kept."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import jax
import jaxlib

from engine.disk import caches
from engine.errors import RequestError, one_line

SOURCE, *HEADERS = map(Path(__file__).with_name,
                       ("convolution.cc", "product.h", "shape.h", "winograd.h"))
TARGETS = "Convolution", "ConvolutionByImage", "ConvolutionByKernel"
COMPILERS = "c++", "g++", "clang++"
OPTIONS = "-std=c++20", "-O3", "-march=native", "-fPIC", "-shared"
SECONDS = 300  # that a compiler may take
INSTEAD = "leave --convolution native out, or type --convolution product"


@functools.cache
def target(name: str) -> str:
    """XLA's name of a kernel of TARGETS, which is registered under it. Raises RequestError where
    there is no compiler, or it fails.

    A digest is part of the name: a compiled program that jax keeps finds none but its own kernels.
    """
    digest, library = _library()
    called = f"flaxmill_{name}_{digest}"
    jax.ffi.register_ffi_target(called, jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
    return called


@functools.cache
def _library() -> tuple[str, ctypes.CDLL]:
    """Its digest, and the library: the one that is kept, or one made now."""
    if not (found := compiler()):
        raise RequestError("--convolution native is compiled on this machine, which has no C++ "
                           f"compiler ({', '.join(COMPILERS)}): install g++, name one by CXX, or "
                           f"{INSTEAD}.")
    command = [found, *OPTIONS, "-isystem", jax.ffi.include_dir(), str(SOURCE)]
    sources = [path.read_text() for path in (SOURCE, *HEADERS)]
    about = (*command, jaxlib.__version__, _processor(), *sources)
    digest = hashlib.sha256("\0".join(about).encode()).hexdigest()[:16]
    folder = caches.cache_home() / "native"
    if problem := caches.cache_problem(folder):
        raise RequestError(f"--convolution native keeps its kernel in {problem}.")
    path = folder / f"{digest}.so"
    if not path.exists():
        _compile(command, path)
    return digest, ctypes.CDLL(str(path))


def compiler() -> str:
    """$CXX, or the first that is there; "" where there is none."""
    return shutil.which(os.environ.get("CXX", "")) or next(
        filter(None, map(shutil.which, COMPILERS)), "")


def _processor() -> str:
    """What code for this very processor may use."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    kinds = {line for line in lines if line.startswith(("flags", "Features", "model name"))}
    return "\n".join((platform.machine(), platform.processor(), *sorted(kinds)))


def _compile(command: list[str], path: Path) -> None:
    """Whole or not at all, though others do the same at once."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        try:
            done = subprocess.run([*command, "-o", str(made)], capture_output=True, text=True,
                                  timeout=SECONDS)
            why = done.stderr if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            why = str(error)
        if why or not made.exists():
            raise RequestError(f"--convolution native: {command[0]} failed: {one_line(why)}: name "
                               f"another compiler by CXX, or {INSTEAD}.")
        made.replace(path)
