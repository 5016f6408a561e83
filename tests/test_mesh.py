"""Two forced CPU devices against one; jobs of real processes are in tests/faults."""

import dataclasses
import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import QUICK
from samples import Tiny, random_split

from engine.config import Config, Hyper
from engine.data import whole
from engine.devices import mesh
from engine.devices.choose import spare_threads
from engine.errors import RequestError
from engine.feed import Data, epoch_order
from engine.job import processes as job
from engine.learners import chosen
from engine.learners.chosen import learner_of
from engine.place import Place

CPU = jax.devices("cpu")[0]
CONFIG, HYPER = Config(model=Tiny, batch_size=8, epochs=1), Hyper(clip_norm=1e3)
TRAIN, VALIDATION = random_split(37), random_split(21, seed=1)  # no batch is full at the end
COLLECTIVE = re.compile(
    r"= .*?\b(all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)


@functools.cache
def trained(devices: int, config=CONFIG, hyper=HYPER, fsdp: bool = False, steps: int = 5):
    """(compiled text, state, its evaluation) of so many steps, on one device or on all."""
    found = jax.devices("cpu")
    assert devices in (1, len(found))
    spread = mesh.spread(found[:devices], fsdp)
    where = mesh.everywhere(spread.mesh, CPU)
    data = mesh.put(Data(whole(TRAIN), whole(VALIDATION), 4), where)
    root = mesh.put(jax.random.key(3), where)
    hyper = mesh.put(jax.tree.map(np.float32, hyper), where)
    learner = learner_of(config, 4, spread)
    start = jax.device_get(jax.jit(learner.create, compiler_options=QUICK)(hyper, root, data))
    state = mesh.put(start, spread.shardings(start, CPU))
    compiled = jax.jit(learner.segment, compiler_options=QUICK).lower(
        hyper=hyper, root=root, order=root, train=data.train, state=state, count=np.int32(1)
    ).compile()
    state = compiled(hyper=hyper, root=root, order=root, train=data.train, state=state,
                     count=np.int32(steps))
    judge = jax.jit(learner.judge, compiler_options=QUICK)
    return compiled.as_text(), state, functools.partial(judge, state.variables, data.validation)


def of_plain_jax(start, rate: float, steps: int):
    """The params after so many SGD steps on exactly each batch's examples."""
    order = np.asarray(epoch_order(jax.random.key(3), 0, np.arange(37)))
    images, labels = np.asarray(TRAIN.inputs, np.float32) / 255, TRAIN.targets

    @functools.partial(jax.jit, compiler_options=QUICK)
    def gradient(params, images, labels):
        def mean(params):
            logits = Tiny().apply({"params": params}, images, train=True)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        return jax.grad(mean)(params)

    params = start
    for step in range(steps):
        rows = order[8 * step : 8 * step + 8]
        slope = gradient(params, images[rows], labels[rows])
        params = jax.tree.map(lambda p, g: p - rate * g, params, slope)
    return params


@pytest.mark.slow
def test_the_gradient_is_the_mean_over_a_batchs_examples_on_two_devices_too():
    """37 examples of batch 8: the last batch has 5, the second device's share 1 of 4."""
    config, hyper = dataclasses.replace(CONFIG, optimizer="sgd"), Hyper(learning_rate=0.2)
    _, start, _ = trained(1, config, hyper, steps=0)
    want = of_plain_jax(jax.device_get(start.params), 0.2, 5)
    for devices, fsdp in ((1, False), (2, False), (2, True)):
        _, state, _ = trained(devices, config, hyper, fsdp)
        chex.assert_trees_all_close(jax.device_get(state.params), want, atol=2e-5)


@pytest.mark.parametrize("changes, fsdp", [
    pytest.param({}, False, marks=pytest.mark.slow),
    ({"flip": True, "crop_padding": 2, "microbatch": 2}, False),
    pytest.param({"optimizer": "muon", "microbatch": 2}, True, marks=pytest.mark.slow),
])
def test_two_devices_train_as_one_does(changes, fsdp):
    """At their gradients' own scale: none is as long as the norm they are clipped to."""
    config = dataclasses.replace(CONFIG, **changes)
    _, one, judged = trained(1, config)
    _, two, judged_by_two = trained(2, config, fsdp=fsdp)
    chex.assert_trees_all_close(jax.device_get(two.params), jax.device_get(one.params), atol=5e-5)
    assert int(two.tally.count) == int(one.tally.count) == 37
    assert int(two.tally.correct) == int(one.tally.correct)
    if not config.microbatch:
        (sums, told), (sums_of_two, told_by_two) = judged(), judged_by_two()
        assert int(sums_of_two.correct) == int(sums.correct)
        np.testing.assert_array_equal(told_by_two.argmax(1), told.argmax(1))
        np.testing.assert_allclose(told_by_two, told, atol=1e-4)
        assert told.shape == (21, 4)


@pytest.mark.slow
def test_the_articles_network_too():
    config = Config(batch_size=32, optimizer="sgd")
    _, one, _ = trained(1, config, steps=2)
    _, two, _ = trained(2, config, steps=2)
    chex.assert_trees_all_close(jax.device_get(two.params), jax.device_get(one.params), atol=5e-5)


@pytest.mark.slow
def test_devices_speak_once_a_step_and_only_to_add():
    """And so does each microbatch, whose examples every device has already."""
    text, state, _ = trained(2, dataclasses.replace(CONFIG, microbatch=2))
    assert set(COLLECTIVE.findall(text)) == {"all-reduce"}
    text, state, _ = trained(2)
    assert set(COLLECTIVE.findall(text)) == {"all-reduce"}
    assert len(COLLECTIVE.findall(text)) <= 2  # one a dtype: sums, and counts
    assert all(x.is_fully_replicated for x in jax.tree.leaves(state))


def test_fully_sharded_state_lies_in_parts_and_stays_so():
    text, state, _ = trained(2, fsdp=True)
    assert set(COLLECTIVE.findall(text)) == {"all-reduce", "all-gather"}  # a GPU's scatter
    kernel = state.params["Dense_0"]["kernel"]
    assert kernel.sharding.spec == jax.sharding.PartitionSpec("data")
    assert kernel.addressable_shards[0].data.shape == (kernel.shape[0] // 2, 16)
    (moment,) = {str(x.sharding.spec) for x in jax.tree.leaves(state.opt_state)
                 if x.shape == kernel.shape}
    assert moment == str(kernel.sharding.spec)
    assert state.params["Dense_1"]["bias"].is_fully_replicated  # too small to split


@pytest.mark.parametrize("changes, said", [
    ({"batch_size": 9}, "--batch_size 9 .* 2 devices .*: type 8 or 10"),
    ({"batch_size": 1}, "--batch_size 1 .*: type 2, or"),
    ({"microbatch": 3}, "--microbatch 3 does not divide the 4 examples"),
])
def test_a_batch_that_devices_cannot_share_is_refused_with_ones_they_can(changes, said):
    with pytest.raises(RequestError, match=said):
        chosen.share_of(dataclasses.replace(CONFIG, **changes), 2)
    assert chosen.share_of(CONFIG, 2) == 4


@pytest.mark.parametrize("changes, said", [
    ({"num_processes": 2}, "--coordinator '', --num_processes 2 and --process_id -1 belong toget"),
    ({"coordinator": "h:1", "process_id": 0}, "--num_processes 0 and --process_id 0 belong"),
    ({"coordinator": "h:1", "num_processes": 2, "process_id": 2}, "--process_id 2 .* 0 to that"),
    ({"coordinator": "h", "num_processes": 2, "process_id": 0}, "--coordinator 'h'.* HOST:PORT"),
    ({"coordinator": ":12", "num_processes": 2, "process_id": 0}, "':12'.* type HOST:PORT"),
])
def test_half_an_address_is_refused(changes, said):
    with pytest.raises(RequestError, match=said), job.joining(Place(**changes)):
        pass


def test_the_coordinator_listens_where_it_was_told_to(monkeypatch):
    """jax alone would listen on every interface."""
    heard = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda **words: heard.update(words))
    for typed, bound in (("127.0.0.1:70", "127.0.0.1:70"), ("localhost:70", "127.0.0.1:70"),
                         ("10.0.0.3:70", "10.0.0.3:70")):
        place = Place(coordinator=typed, num_processes=2, process_id=1)
        with job.joining(place) as joined:
            assert joined == f"the coordinator listens on {bound}"
        assert heard["coordinator_bind_address"] == bound
        assert heard["heartbeat_timeout_seconds"] == 3 * place.heartbeat_seconds


@pytest.mark.parametrize("env, found", [
    ({}, False), ({"SLURM_NTASKS": "4"}, False),
    ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, False),
    ({"SLURM_NTASKS": "4", "SLURM_PROCID": "2"}, True),
    ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}, True),
    ({"KUBERNETES_SERVICE_HOST": "h"}, False),
    ({"KUBERNETES_SERVICE_HOST": "h", "JOB_COMPLETION_INDEX": "0"}, True),
])
def test_a_launcher_is_one_that_started_several(env, found):
    assert job._launched(env) == found


def test_alone_a_process_agrees_with_itself():
    assert job.all_agree(True) and not job.all_agree(False)
    assert job.agreed(np.array([1, 5]), np.max).tolist() == [1, 5]
    assert job.first_tells(lambda: "here") == "here"
    assert job.any_tells("why") == "why" and job.any_tells("") == ""


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
