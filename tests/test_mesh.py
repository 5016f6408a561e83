"""Two forced CPU devices against one; jobs of real processes are in tests/faults."""

import dataclasses
import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_split

from engine import loop, mesh, setup
from engine.config import Config, Hyper
from engine.data import Data, whole
from engine.devices.choose import spare_threads
from engine.errors import RequestError
from engine.job import processes as job
from models import build

pytestmark = pytest.mark.usefixtures("tiny_is_a_model")
CPU = jax.devices("cpu")[0]
CONFIG, HYPER = Config(model="tiny", batch_size=8, epochs=1), Hyper()
TRAIN, VALIDATION = random_split(37), random_split(21, seed=1)  # no batch is full at the end
COLLECTIVE = re.compile(
    r"= .*?\b(all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)


def trained(devices: int, config=CONFIG, hyper=HYPER, steps: int = 5):
    """(compiled text, state, evaluation) of so many steps, on one device or on all."""
    found = jax.devices("cpu")
    assert devices in (1, len(found))
    spread = mesh.spread(found[:devices], config if devices > 1 else Config())
    where = mesh.everywhere(spread and spread.mesh, CPU)
    data = mesh.put(Data(whole(TRAIN), whole(VALIDATION), 4), where)
    root = mesh.put(jax.random.key(3), where)
    hyper = mesh.put(jax.tree.map(np.float32, hyper), where)
    start = jax.device_get(loop.initial_state(config, hyper, root, data))
    state = mesh.put(start, spread.shardings(start) if spread else where)
    model = build(config.model, 4)
    compiled = jax.jit(partial(loop.segment, model, config, spread=spread)).lower(
        hyper=hyper, root=root, order=root, train=data.train, state=state, count=np.int32(1)
    ).compile()
    state = compiled(hyper=hyper, root=root, order=root, train=data.train, state=state,
                     count=np.int32(steps))
    evaluate = jax.jit(partial(loop.evaluate, model, num_classes=4, spread=spread))
    return compiled.as_text(), state, evaluate(state.variables, data.validation)


@pytest.mark.parametrize("changes", [
    {}, {"flip": True, "crop_padding": 2}, {"microbatch": 2}, {"optimizer": "sgd"}, {"fsdp": True},
    {"fsdp": True, "optimizer": "muon"}, {"fsdp": True, "microbatch": 2},
])
def test_two_devices_train_as_one_does(changes):
    config, hyper = dataclasses.replace(CONFIG, **changes), Hyper(clip_norm=1.0)
    _, one, judged = trained(1, config, hyper)
    _, two, judged_by_two = trained(2, config, hyper)
    chex.assert_trees_all_close(jax.device_get(two.params), jax.device_get(one.params), atol=5e-5)
    assert int(two.tally.count) == int(one.tally.count) == 37
    assert int(two.tally.correct) == int(one.tally.correct)
    np.testing.assert_array_equal(judged_by_two.confusion, judged.confusion)


def test_the_articles_network_too():
    config = Config(batch_size=32, optimizer="sgd")
    _, one, _ = trained(1, config, steps=2)
    _, two, _ = trained(2, config, steps=2)
    chex.assert_trees_all_close(jax.device_get(two.params), jax.device_get(one.params), atol=5e-5)


def test_devices_speak_once_a_step_and_only_to_add():
    """And so does each microbatch, whose examples every device has already."""
    text, state, _ = trained(2, dataclasses.replace(CONFIG, microbatch=2))
    assert set(COLLECTIVE.findall(text)) == {"all-reduce"}
    text, state, _ = trained(2)
    assert set(COLLECTIVE.findall(text)) == {"all-reduce"}
    assert len(COLLECTIVE.findall(text)) <= 2  # one a dtype: sums, and counts
    assert all(x.is_fully_replicated for x in jax.tree.leaves(state))


def test_fully_sharded_state_lies_in_parts_and_stays_so():
    text, state, _ = trained(2, dataclasses.replace(CONFIG, fsdp=True))
    assert set(COLLECTIVE.findall(text)) == {"all-reduce", "all-gather"}  # a GPU's scatter
    kernel = state.params["Dense_0"]["kernel"]
    assert kernel.sharding.spec == jax.sharding.PartitionSpec("data")
    assert kernel.addressable_shards[0].data.shape == (kernel.shape[0] // 2, 16)
    (moment,) = {str(x.sharding.spec) for x in jax.tree.leaves(state.opt_state)
                 if x.shape == kernel.shape}
    assert moment == str(kernel.sharding.spec)
    assert state.params["Dense_1"]["bias"].is_fully_replicated  # too small to split


def test_the_gradient_of_a_padded_batch_is_the_mean_over_its_examples():
    """37 examples of batch 8: the last batch has 5, the second device's share 1 of 4."""
    config, hyper = dataclasses.replace(CONFIG, optimizer="sgd"), Hyper(learning_rate=1.0)
    _, one, _ = trained(1, config, hyper)
    _, two, _ = trained(2, config, hyper)
    chex.assert_trees_all_close(jax.device_get(two.params), jax.device_get(one.params), atol=5e-5)


@pytest.mark.parametrize("changes, said", [
    ({"batch_size": 9}, "--batch_size 9 .* 2 devices .*: type 8 or 10"),
    ({"batch_size": 1}, "--batch_size 1 .*: type 2, or"),
    ({"microbatch": 3}, "--microbatch 3 does not divide the 4 examples"),
])
def test_a_batch_that_devices_cannot_share_is_refused_with_ones_they_can(changes, said):
    with pytest.raises(RequestError, match=said):
        setup.share_of(dataclasses.replace(CONFIG, **changes), 2)
    assert setup.share_of(CONFIG, 2) == 4


@pytest.mark.parametrize("changes, said", [
    ({"num_processes": 2}, "--process_id belong together"),
    ({"coordinator": "h:1", "process_id": 0}, "belong together"),
    ({"coordinator": "h:1", "num_processes": 2, "process_id": 2}, "--process_id 2: type 0 to 1"),
    ({"coordinator": "h", "num_processes": 2, "process_id": 0}, "type HOST:PORT"),
    ({"coordinator": ":12", "num_processes": 2, "process_id": 0}, "type HOST:PORT"),
])
def test_half_an_address_is_refused(changes, said):
    with pytest.raises(RequestError, match=said):
        job.join(dataclasses.replace(Config(), **changes))


def test_the_coordinator_listens_where_it_was_told_to(monkeypatch):
    """jax alone would listen on every interface."""
    heard = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda **words: heard.update(words))
    for typed, bound in (("127.0.0.1:70", "127.0.0.1:70"), ("localhost:70", "127.0.0.1:70"),
                         ("10.0.0.3:70", "10.0.0.3:70")):
        config = Config(coordinator=typed, num_processes=2, process_id=1)
        assert job.join(config) == f"the coordinator listens on {bound}"
        assert heard["coordinator_bind_address"] == bound
        assert heard["heartbeat_timeout_seconds"] == 3 * config.heartbeat_seconds


@pytest.mark.parametrize("env, found", [
    ({}, ""), ({"SLURM_NTASKS": "4"}, ""), ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, ""),
    ({"SLURM_NTASKS": "4", "SLURM_PROCID": "2"}, "SLURM"),
    ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}, "OMPI"),
    ({"KUBERNETES_SERVICE_HOST": "h"}, ""),
    ({"KUBERNETES_SERVICE_HOST": "h", "JOB_COMPLETION_INDEX": "0"}, "Kubernetes"),
])
def test_a_launcher_is_one_that_started_several(env, found):
    assert job._launched(env) == found


def test_alone_a_process_agrees_with_itself():
    assert job.all_agree(True) and not job.all_agree(False)
    assert job.agreed(np.array([1, 5]), np.max).tolist() == [1, 5]
    assert job.first_tells(lambda: "here") == "here"


def test_a_snapshot_outlives_what_it_was_taken_of():
    x = jnp.arange(4.0)
    kept = mesh.snapshot(x)
    jax.jit(lambda x: x + 1, donate_argnums=0)(x)
    assert x.is_deleted() and kept.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("env, threads", [
    ({}, None), ({"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}, None),
    ({"XLA_FLAGS": "--a --xla_force_host_platform_device_count=8"}, "16"),
    ({"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "PJRT_NPROC": "40"}, "40"),
])
def test_forced_devices_get_two_threads_each(env, threads):
    spare_threads(env)
    assert env.get("PJRT_NPROC") == threads
