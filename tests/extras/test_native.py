"""The native kernel against lax, in value and in derivatives of every kind; bits; who may use it.

Needs a C++ compiler.
"""

import os
import shutil
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from conftest import QUICK
from jax import lax
from test_formulation import close, conv, conv_pool, in_a_scan, normal

from engine.errors import RequestError
from engine.formulation.rewriting import census, rewritten
from engine.native import choice, library
from engine.native.convolution import refusal

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, library.COMPILERS)), reason="there is no C++ compiler")
quickly = partial(jax.jit, compiler_options=QUICK)


def forget() -> None:
    for kept in (library.target, library._library, choice._compiled):
        kept.cache_clear()


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Compiled once, in a cache folder of the tests' own."""
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(path))
        forget()
        yield path
    forget()


CASES = [  # inputs, kernel, strides, padding
    ((2, 7, 9, 3), (3, 3, 3, 4), (1, 1), "VALID"),
    ((2, 6, 5, 8), (3, 3, 8, 20), (2, 2), "SAME"),
    ((1, 8, 7, 1), (5, 2, 1, 9), (1, 3), ((2, 1), (0, 3))),
    ((2, 7, 6, 3), (4, 3, 3, 4), (2, 1), ((-1, 0), (1, -1))),
    ((2, 5, 5, 8), (1, 2, 8, 17), (2, 2), "VALID"),
    ((2, 9, 9, 33), (2, 2, 33, 1), (3, 3), "VALID"),
    ((2, 11, 10, 6), (2, 3, 6, 40), (3, 4), ((5, 4), (0, 7))),
    ((35, 8, 40, 3), (3, 3, 3, 16), (1, 1), "SAME"),
    ((5, 6, 5, 130), (3, 2, 130, 140), (2, 1), "SAME"),
    ((4, 8, 8, 16), (3, 3, 16, 16), (1, 1), "SAME"),
    ((33, 9, 7, 48), (3, 3, 48, 16), (1, 1), ((0, 3), (-1, 2))),
    ((7, 4, 50, 16), (3, 3, 16, 80), (1, 1), "VALID"),
    ((64, 2, 2, 32), (3, 3, 32, 32), (1, 1), "SAME"),
    ((2, 1, 700, 16), (3, 3, 16, 32), (1, 1), "SAME"),
    ((20, 8, 7, 128), (3, 3, 128, 144), (1, 1), "SAME"),
]


def test_a_convolution_and_its_gradients_are_laxs():
    """Strides, paddings, odd sizes, one channel, fewer features than a vector has, many panels of
    them; by Winograd's transform with one tile, halves of tiles, and several blocks of a part."""
    operands = [(normal(0, *x), normal(1, *kernel)) for x, kernel, _, _ in CASES]

    def all_of(change):
        found = []
        for (x, kernel), (_, _, strides, padding) in zip(operands, CASES, strict=True):
            function = change(partial(conv, strides=strides, padding=padding))
            y, pull = jax.vjp(function, x, kernel)
            found.append((y, *pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))))
        return found

    got, want = quickly(lambda: (all_of(partial(rewritten, how="native")),
                                 all_of(lambda function: function)))()
    jax.tree.map(partial(close, rtol=1e-5), got, want)


def of_layouts(x, kernel):
    return lax.conv_general_dilated(x, kernel, (2, 1), "SAME",
                                    dimension_numbers=("NCHW", "OIHW", "CNHW"))


@pytest.mark.parametrize("kind", [
    "second", "forward", "kernels", "inputs", "layouts", "pooled", "in a scan"])
def test_whatever_is_asked_of_it(kind):
    x, kernel, bias = normal(0, 2, 8, 6, 3), 0.3 * normal(1, 2, 2, 3, 4), normal(2, 4)

    def twice(x, kernel):
        return jnp.sin(conv(jnp.tanh(conv(x, kernel)), kernel.transpose(0, 1, 3, 2)))

    def asked(change):
        f = change(twice)
        if kind == "second":
            gradient = jax.grad(lambda *both: f(*both).sum(), (0, 1))
            return jax.grad(lambda *both: jnp.square(gradient(*both)[1]).sum(), (0, 1))(x, kernel)
        if kind == "forward":
            return jax.jvp(f, (x, kernel), (x, 2 * kernel))
        if kind == "kernels":
            gradient = jax.grad(lambda k: f(x, k).sum())
            return jax.vmap(gradient)(jnp.stack([kernel, 2 * kernel]))
        if kind == "inputs":
            return jax.vmap(f, (3, None), 1)(jnp.stack([x, 2 * x], 3), kernel)
        if kind == "layouts":
            function = change(lambda x, k: jnp.sin(of_layouts(x, k)).sum())
            return jax.value_and_grad(function, (0, 1))(x.transpose(0, 3, 1, 2),
                                                        kernel.transpose(3, 2, 0, 1))
        function = change(conv_pool if kind == "pooled" else in_a_scan)
        return jax.grad(lambda *args: function(*args).sum(), (0, 1, 2))(x, kernel, bias)

    got, want = quickly(lambda: (asked(partial(rewritten, how="native")),
                                 asked(lambda function: function)))()
    jax.tree.map(partial(close, rtol=1e-5), got, want)


def test_what_it_cannot_is_a_product_and_counted():
    x, kernel = normal(0, 2, 6, 6, 4), normal(1, 3, 3, 4, 4)

    def function(x, kernel):
        y = conv(conv(x, kernel), kernel[:, :, :1], feature_group_count=4)
        return conv(conv(y, kernel, rhs_dilation=(2, 2)).astype(jnp.bfloat16),
                    kernel.astype(jnp.bfloat16))

    assert (found := census(function, x, kernel)).products == found.convolutions == 4
    assert found.kernels == 1
    made = str(jax.make_jaxpr(rewritten(function, "native"))(x, kernel))
    assert made.count("Convolution[") == 1
    (of_batches,) = jax.make_jaxpr(partial(conv, batch_group_count=2))(x, kernel).eqns
    assert refusal(of_batches) == "grouped"
    for asked, why in (((4, 1, 2), "of single pixels apart"), ((4, 1, 1), ""), ((4, 3, 1), ""),
                       ((171, 3, 1), "of a large kernel"), ((170, 3, 1), ""),
                       ((320, 3, 1, 8), ""), ((321, 3, 1, 8), "of a large kernel"),
                       ((320, 3, 1, 7), "of a large kernel"),
                       ((320, 3, 2, 80), "of a large kernel"),
                       ((352, 3, 1, 8), "of a large kernel")):
        channels, side, stride, batch = (*asked, 1)[:4]
        operands = normal(0, batch, 6, 6, channels), normal(1, side, side, channels, channels)
        (eqn,) = jax.make_jaxpr(partial(conv, strides=(stride, stride)))(*operands).eqns
        assert refusal(eqn) == why, asked
    assert [choice.usable("native", shares) for shares in (1, 2)] == ["native", "auto"]


PROGRAM = """
import hashlib, jax, sys, numpy as np
from engine.native.convolution import by_image_p, by_kernel_p, value_p
CHANNELS, FEATURES = map(int, sys.argv[1:])
x, kernel = (np.random.default_rng(0).normal(size=shape).astype("f4")
             for shape in ((37, 9, 9, CHANNELS), (3, 3, CHANNELS, FEATURES)))
@jax.jit
def step(x, k):
    given = {"strides": (1, 1), "low": (0, 0)}
    y = value_p.bind(x, k, shape=(37, 7, 7, FEATURES), **given)
    return (y, by_image_p.bind(y, k, shape=x.shape, **given),
            by_kernel_p.bind(x, y, shape=k.shape, **given))
for _ in range(3):
    print(*(hashlib.sha256(np.asarray(found).tobytes()).hexdigest() for found in step(x, kernel)))
"""


@pytest.mark.parametrize("sizes", [("5", "20"), ("16", "48")])
def test_bits_do_not_depend_on_threads(sizes, cache):
    found = set()
    for threads in ("1", "3"):
        there = os.environ | {"PJRT_NPROC": threads, "XLA_FLAGS": "", "XDG_CACHE_HOME": str(cache),
                              "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run([sys.executable, "-c", PROGRAM, *sizes], env=there, timeout=300,
                              check=True, capture_output=True, text=True)
        found.update(done.stdout.splitlines())
    assert len(found) == 1


def test_the_library_is_kept_for_its_user_alone_and_not_taken_from_others(cache, monkeypatch):
    library.target("Convolution")
    folder = cache / "flaxmill" / "native"
    (made,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    before = made.stat().st_mtime_ns
    forget()
    library.target("Convolution")
    assert made.stat().st_mtime_ns == before
    forget()
    monkeypatch.setattr(library, "_processor", lambda: "another, which shares the home")
    monkeypatch.setattr(library, "_compile", lambda command, path: shutil.copy(made, path))
    other, _ = library._library()
    assert not made.name.startswith(other)
    folder.chmod(0o777)
    forget()
    try:
        with pytest.raises(RequestError, match="anyone may write there"):
            library.target("Convolution")
    finally:
        folder.chmod(0o700)
        forget()


@pytest.mark.parametrize("compiler, words", [
    ("", "has no C\\+\\+ compiler .*install g\\+\\+.*leave --convolution native out"),
    ("#!/bin/sh\necho no such option >&2; exit 1\n", "c\\+\\+ failed: no such option"),
])
def test_without_a_compiler_there_is_one_message_and_reading_goes_on(
    compiler, words, tmp_path, monkeypatch, capsys
):
    if compiler:
        (tmp_path / "c++").write_text(compiler)
        (tmp_path / "c++").chmod(0o755)
    for name, value in {"PATH": tmp_path, "CXX": "", "XDG_CACHE_HOME": tmp_path}.items():
        monkeypatch.setenv(name, str(value))
    forget()
    with pytest.raises(RequestError, match=words):
        library.target("Convolution")
    assert [choice.usable("native", 1) for _ in range(2)] == ["auto", "auto"]
    assert capsys.readouterr().err.count("products over patches") == 1
    assert not list(Path(tmp_path).rglob("*.so"))
    forget()
