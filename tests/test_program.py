import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from forks import LAUNCH
from samples import Normed, data_of, random_split

from engine.config import Config, Hyper
from engine.devices.program import Program, hasty
from engine.learners.chosen import learner_of
from models.vit import ViT


def scaled(x, by):
    return {"x": x["x"] * by}


def test_it_computes_and_takes_other_values_in_silence():
    program = Program(scaled, x={"x": jnp.ones(3)}, by=jnp.float32(2))
    for by in (3.0, 4.0):
        out = program(x={"x": jnp.ones(3)}, by=jnp.float32(by))
        np.testing.assert_array_equal(out["x"], [by] * 3)
    assert program.seconds > 0


@pytest.mark.parametrize("other", [jnp.ones(4), jnp.ones(3, jnp.int32), "text"])
def test_another_type_is_refused_and_nothing_donated(other):
    program = Program(scaled, donate=("x",), x={"x": jnp.ones(3)}, by=jnp.float32(2))
    with pytest.raises(TypeError):
        program(x={"x": other}, by=jnp.float32(2))
    x = {"x": jnp.ones(3)}
    with pytest.raises(TypeError, match=r"float32\[\].*float32\[3\]"):
        program(x=x, by=jnp.ones(3, jnp.float32))
    np.testing.assert_array_equal(program(x=x, by=jnp.float32(2))["x"], [2] * 3)
    assert x["x"].is_deleted()


@pytest.mark.slow
@pytest.mark.parametrize("model, side", [
    ("cnn", 32), (Normed, 8), (partial(ViT, depth=1, width=48), 16)])
def test_what_is_no_training_has_the_bits_of_a_program_that_llvm_took_its_time_for(model, side):
    data = data_of(*2 * [random_split(70, side=side)])
    hyper = jax.tree.map(np.float32, Hyper())
    learner = learner_of(Config(model=model), 4)
    found = {}
    for options in hasty("cpu"), {"xla_backend_optimization_level": 3}:
        of = partial(jax.jit, compiler_options=options)
        state = of(learner.create)(hyper, jax.random.key(0), data)
        sums, told = of(learner.judge)(state.model, data.validation)
        also = of(learner.evaluate)(state.models, data.validation)
        found[str(options)] = jax.device_get((state.variables, sums, told, also))
    assert len(found) == 2 and hasty("gpu") == {}
    jax.tree.map(np.testing.assert_array_equal, *found.values())


def test_a_process_ends_at_once_but_calls_what_waits_for_its_exit():
    """And looks for garbage seldom, where whoever imports the module keeps their own."""
    script = ("import atexit, gc, sys, launch\n"
              "class Last:\n"
              "    def __del__(self): print('taken apart', flush=True)\n"
              "last, ours = Last(), gc.get_threshold()\n"
              "main = launch.main\n"
              "def told():\n"
              "    atexit.register(lambda: print('called', gc.get_threshold()[0] > ours[0]))\n"
              "    return main(['--version'])\n"
              "launch.main = told\n"
              "launch.process()\n")
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr, lines[1:]) == (0, "", ["called True"])
    assert lines[0].startswith("flaxmill")


@pytest.mark.parametrize("words", [
    "--helpfull",
    pytest.param("--dataset digits --model mlp --device cpu", marks=pytest.mark.slow),
])
def test_what_nobody_reads_any_more_ends_quietly(words, tmp_path):
    """As a shell has it that SIGPIPE ended: python launch.py ... | head."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, LAUNCH, *words.split()], cwd=tmp_path, stdout=write,
                          stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("closed", [">&-", "<&- >&-"])
def test_what_goes_to_a_closed_output_is_lost_quietly(closed):
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, LAUNCH, "list", "models"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")
