import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from conftest import ROOT
from samples import Tiny, random_split

from engine import settling
from engine.config import Config
from engine.console.progress import plain_console
from engine.devices import choose, memory
from engine.devices.memory import Need
from engine.errors import RequestError
from engine.job.host import Host
from engine.programs import compile
from engine.request import Request
from engine.sets.dataset import Dataset


def test_host_memory_is_read(tmp_path):
    text = "MemTotal:       131923484 kB\nMemFree:  1 kB\nMemAvailable:   98765432 kB\n"
    (tmp_path / "meminfo").write_text(text)
    host = 131923484 * 1024, 98765432 * 1024
    assert choose.host_memory(tmp_path / "meminfo", tmp_path / "absent") == host
    assert choose.host_memory(tmp_path / "absent") is None


def test_a_containers_memory_is_its_limits(tmp_path):
    """Without what it has cached of files; and the host's, where that is less."""
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: 600 kB\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 2000\nactive_file 300\n"
                                          "workingset_refault_file 7\n")
    for most, used, found in (("max", 9_000, (1000 * 1024, 600 * 1024)),
                              ("10000", 9_000, (10_000, 3_300)), ("10000", 13_000, (10_000, 0)),
                              ("800000", 9_000, (800_000, 600 * 1024))):
        (tmp_path / "memory.max").write_text(f"{most}\n")
        (tmp_path / "memory.current").write_text(f"{used}\n")
        assert choose.host_memory(tmp_path / "meminfo", tmp_path) == found


def test_the_plan_is_xlas_and_counts_donated_memory_once():
    x = jnp.zeros((256, 1024), jnp.float32)
    kept = memory.needed(jax.jit(lambda x: x + 1).lower(x).compile())
    given = memory.needed(jax.jit(lambda x: x + 1, donate_argnums=0).lower(x).compile())
    assert kept.arguments == kept.outputs == given.alias == x.nbytes
    assert kept.total - given.total == x.nbytes


@pytest.mark.parametrize("failure", memory.FAILURES)
def test_a_batch_that_fits_is_the_largest_of_the_halves(failure):
    def need_of(batch: int) -> Need:
        if batch > 100:
            raise failure("RESOURCE_EXHAUSTED: Out of memory")
        return Need(temp=10 * batch, arguments=10**9, outputs=0, alias=0)

    assert memory.fitting_batch(512, 400, need_of) == 32
    assert memory.fitting_batch(512, 9, need_of) == 0
    assert "type --batch_size 32" in str(memory.too_large(512, None, 400, need_of))
    assert "no batch fits" in str(memory.too_large(512, 10**6, 9, need_of))


def test_devices_share_the_batch_that_fits():
    """Shares of 6, 3 and 1: an even share of 12 would be nobody's."""
    tried = []

    def need_of(batch: int) -> Need:
        tried.append(batch)
        return Need(temp=batch, arguments=0, outputs=0, alias=0)

    assert memory.fitting_batch(48, 8, need_of, shares=8) == 8 and tried == [24, 8]


def test_other_errors_of_jax_are_not_taken_for_a_lack_of_memory():
    def need_of(batch: int) -> Need:
        raise jax.errors.JaxRuntimeError("INTERNAL: broken")

    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        memory.fitting_batch(8, 1, need_of)


@pytest.mark.slow
def test_memory_that_runs_out_where_a_program_is_called_is_known_by_its_failure():
    """jax raises a ValueError there, whose words are XLA's."""
    script = """
import resource
import jax
from engine.devices import memory

call = jax.jit(lambda x: x + jax.numpy.ones(1 << 26, jax.numpy.float32))
held = [jax.block_until_ready(call(1.0)), jax.block_until_ready(call(2.0))]
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 30),) * 2)
try:
    while True:
        held.append(jax.block_until_ready(call(float(len(held)))))
except memory.FAILURES as error:
    print(memory.exhausted(error))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT,
                          timeout=120)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.slow
def test_training_that_would_not_fit_is_refused_with_a_batch_that_does(monkeypatch):
    """The room is what a batch of 8 needs and a byte; 32 and 16 need more."""
    host = Host(jax.devices("cpu")[0], plain_console(quiet=True))
    parts = {"train": random_split(64), "test": random_split(8)}
    dataset = Dataset("small", tuple("abcd"), parts, "0")
    config = Config(model=Tiny, batch_size=32)
    ready = settling.settle(Request(config), dataset, host)
    need = compile._need_of(ready, 8).beyond_arguments + 1
    monkeypatch.setattr(memory, "free", lambda device: need)
    state = ready.state_shapes
    with pytest.raises(RequestError, match=r"--batch_size 32 needs .* MiB more, .*--batch_size 8"):
        compile.programs(ready, state)
    smaller = dataclasses.replace(ready.learner, config=dataclasses.replace(config, batch_size=8))
    assert compile.programs(ready._replace(learner=smaller), state).seconds > 0
