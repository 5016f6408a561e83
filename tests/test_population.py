"""Many runs as one: each is the run alone, whatever the layout, order, neighbours and devices."""

import dataclasses
import re
from functools import cache, partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import on_devices
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from samples import Tiny, data_of, random_split

from engine.config import Config, Hyper
from engine.devices import memory
from engine.doors.course import durations
from engine.examples import Subset
from engine.learners.chosen import learner_of
from engine.learners.gradient import Gradient
from engine.sweep import population
from engine.sweep.population import Layout, Population

RATES = np.array([1e-4, 1e-3, 3e-3, 1e-2], np.float32)
SEEDS = np.array([0, 1, 0, 7], np.int32)
CLASSES = 4


CONFIG = Config(model=Tiny, batch_size=8, epochs=2)
DATA = data_of(random_split(37), random_split(21, seed=1))


class Kept(nn.Module):
    """Tiny, with batch statistics."""

    num_classes: int = 4

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Dense(8, use_bias=False)(x.reshape(x.shape[0], -1))
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return nn.Dense(self.num_classes)(x)


def folded(subset: Subset) -> Subset:
    """With rows [1, N], as a population takes them."""
    return subset._replace(rows=subset.rows[None])


@cache
def of(config: Config) -> Gradient:
    return learner_of(config, CLASSES)


# One program a learner and layout, for all tests.
CREATE = jax.jit(
    lambda learner, *values: population.create_all(
        learner, *values, input_shape=DATA.train.input_shape,
        lengths=durations(learner.config, len(DATA.train.rows))),
    static_argnums=0,
)
TRACED: list[Layout] = []


def _segment(learner, layout, *rest):
    TRACED.append(layout)
    return population.segment(learner, layout, *rest)


SEGMENT = jax.jit(_segment, static_argnums=(0, 1))
EVALUATE = jax.jit(population.evaluate, static_argnums=(0, 1))
JUDGE = jax.jit(Gradient.evaluate, static_argnums=0)
ALONE = jax.jit(Gradient.segment, static_argnums=0)
ONE = jax.jit(Gradient.create, static_argnums=0)


def created(config: Config, seeds=SEEDS, rates=RATES, folds=None) -> Population:
    zeros = np.zeros(len(seeds), np.int32)
    return CREATE(of(config), Hyper(learning_rate=rates), seeds, zeros if folds is None else folds,
                  np.arange(len(seeds), dtype=np.int32))


def trained(config: Config, layout: Layout, order=None, runs=None, steps: int = 5):
    runs = created(config) if runs is None else runs
    return SEGMENT(of(config), layout, runs, order, folded(DATA.train), np.int32(steps))


def alone(config: Config, at: int, order=None, steps: int = 5):
    """The same run through the ordinary loop."""
    hyper, root = Hyper(learning_rate=RATES[at]), jax.random.key(int(SEEDS[at]))
    state = ONE(of(config), hyper, root, DATA)
    return ALONE(of(config), hyper, root, root if order is None else order, DATA.train, state,
                 np.int32(steps))


def member(runs: Population, at: int):
    return jax.tree.map(lambda x: np.asarray(x)[at], runs.members.state)


def equal(a, b) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


@pytest.mark.parametrize("model", [
    Tiny, *(pytest.param(model, marks=pytest.mark.slow) for model in (Kept, "cnn")),
])
def test_each_member_is_the_run_alone_bit_for_bit(model):
    config = dataclasses.replace(CONFIG, model=model)
    runs = trained(config, Layout())
    for at in (1, 3) if model == "cnn" else range(len(SEEDS)):
        single = alone(config, at)
        assert equal(member(runs, at), single._replace(step=population.NOTHING))
    assert int(runs.step) == 5


@pytest.mark.slow
@pytest.mark.parametrize("block, convolution", [(2, "auto"), (3, "product"), (4, "direct")])
def test_blocks_of_vmap_agree_with_the_run_alone(block, convolution):
    """An epoch of the article's network, whatever the block; three don't divide four members."""
    config = dataclasses.replace(CONFIG, model="cnn", convolution=convolution)
    runs = trained(config, Layout(block))
    for at in (0, 3):
        chex.assert_trees_all_close(
            member(runs, at).params, alone(config, at).params, atol=1e-5, rtol=1e-5
        )


@pytest.fixture(scope="module")
def separately() -> population.Separately:
    """What a CPU does: the run's own program for each member, in waves."""
    return population.program(of(CONFIG), Layout(), cores=4, population=created(CONFIG),
                              count=np.int32(1), order=None, train_FxN=folded(DATA.train))


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_members_computed_at_once_are_each_the_run_alone(at_once, separately, monkeypatch):
    """An odd one is left at the end."""
    runs, shared = created(CONFIG), {"order": None, "train_FxN": folded(DATA.train)}
    waves = []
    monkeypatch.setattr(separately.width, "choose", lambda left: min(at_once, left, 3))
    monkeypatch.setattr(separately.width, "learn", lambda *wave: waves.append(wave[:2]))
    for count in (2, 3):
        runs = separately(population=runs, count=np.int32(count), **shared)
    assert waves[-1] == ((1, 3) if at_once in (1, 4) else (2, 6)) and int(runs.step) == 5
    for at in range(4):
        assert equal(member(runs, at), alone(CONFIG, at)._replace(step=population.NOTHING))


def test_no_more_members_at_once_than_memory_holds(separately, monkeypatch):
    """Of the same program, in rooms of several sizes."""
    need = memory.needed(separately.compiled).beyond_arguments
    monkeypatch.setattr(population.Program, "__init__", lambda self, *_, **__: None)
    monkeypatch.setattr(population.Separately, "compiled", separately.compiled, raising=False)
    for room, most in ((0, 1), (3 * need, 2), (100 * need, 8), (None, 8)):
        monkeypatch.setattr(memory, "free", lambda device, room=room: room)
        again = population.program(of(CONFIG), Layout(), cores=8, population=created(CONFIG),
                                   count=np.int32(1), order=None, train_FxN=folded(DATA.train))
        assert again.width.most == most


@pytest.mark.slow
def test_a_shared_order_is_an_ordinary_runs_with_that_order():
    order = jax.random.key(11)
    runs = trained(CONFIG, Layout(), order)
    assert equal(member(runs, 1), alone(CONFIG, 1, order)._replace(step=population.NOTHING))
    own = trained(CONFIG, Layout())
    assert not equal(member(runs, 1).params, member(own, 1).params)


def test_a_shared_order_cuts_one_batch_for_all_members():
    """Under vmap the images are gathered once, so the first layer's input has no run axis."""
    def batches(order):
        arguments = (created(CONFIG), order, folded(DATA.train), np.int32(5))
        text = SEGMENT.lower(of(CONFIG), Layout(4), *arguments).as_text()
        return "tensor<4x8x18x18x1xui8>" in text

    assert batches(None) and not batches(jax.random.key(0))


def test_order_and_neighbours_of_members_do_not_matter():
    runs = trained(CONFIG, Layout())
    back = trained(CONFIG, Layout(), runs=created(CONFIG, SEEDS[::-1].copy(), RATES[::-1].copy()))
    for at in range(4):
        assert equal(member(runs, at), member(back, 3 - at))


def test_a_diverged_member_harms_no_other():
    rates = RATES.copy()
    rates[2] = 1e30
    runs = trained(CONFIG, Layout(4), runs=created(CONFIG, SEEDS, rates))
    assert (np.asarray(runs.members.state.diverged_at) >= 0).tolist() == [False, False, True, False]
    calm = trained(CONFIG, Layout(4))
    for at in (0, 1, 3):
        assert equal(member(runs, at), member(calm, at))


def test_selected_members_go_on_as_if_nothing_had_happened():
    runs = trained(CONFIG, Layout(), steps=3)
    kept = Population(runs.step, population.select(runs.members, np.array([3, 1, 1, 0])))
    on, all_on = (trained(CONFIG, Layout(), runs=r, steps=2) for r in (kept, runs))
    for at, source in enumerate((3, 1, 1, 0)):
        assert equal(member(on, at), member(all_on, source))
    assert np.asarray(on.members.number).tolist() == [3, 1, 1, 0]


@pytest.mark.slow
def test_folds_train_and_validate_on_their_own_rows():
    rows = jnp.stack([jnp.arange(0, 30), jnp.arange(7, 37)])
    held = jnp.stack([jnp.arange(30, 37), jnp.arange(0, 7)])
    folds = np.array([0, 1, 1, 0], np.int32)
    config = dataclasses.replace(CONFIG, model=Kept)
    learner = of(config)
    runs = SEGMENT(learner, Layout(), created(config, folds=folds), None,
                   DATA.train._replace(rows=rows), np.int32(4))
    (sums,) = EVALUATE(learner, Layout(), runs.members, DATA.train._replace(rows=held))
    for at, fold in enumerate(folds):
        part = DATA.train._replace(rows=rows[fold])
        hyper, root = Hyper(learning_rate=RATES[at]), jax.random.key(int(SEEDS[at]))
        state = ONE(learner, hyper, root, dataclasses.replace(DATA, train=part))
        single = ALONE(learner, hyper, root, root, part, state, np.int32(4))
        assert equal(member(runs, at).variables, single.variables)
        (want,) = JUDGE(learner, single.models, DATA.train._replace(rows=held[fold]))
        assert int(sums.correct[at]) == int(want.correct) and int(want.count) == 7
        np.testing.assert_allclose(sums.loss_sum[at], want.loss_sum, rtol=1e-6)


def test_one_trace_serves_every_learning_rate():
    trained(CONFIG, Layout())
    before = len(TRACED)
    for rates in (RATES * 3, RATES[::-1].copy()):
        trained(CONFIG, Layout(), runs=created(CONFIG, rates=rates))
    assert len(TRACED) == before


COLLECTIVES = r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"


def sharded(count: int) -> tuple[str, Population]:
    """The compiled text of a population spread over `count` devices, and its end."""
    mesh = jax.make_mesh((count,), ("runs",), axis_types=(AxisType.Auto,))
    everywhere = NamedSharding(mesh, PartitionSpec())
    runs = created(CONFIG, np.arange(2 * count, dtype=np.int32),
                   np.full(2 * count, 1e-3, np.float32))
    placed = Population(
        jax.device_put(runs.step, everywhere),
        jax.device_put(runs.members, NamedSharding(mesh, PartitionSpec("runs"))),
    )
    train = jax.device_put(folded(DATA.train), everywhere)
    segment = jax.jit(partial(population.segment, of(CONFIG), Layout(1, mesh)))
    compiled = segment.lower(placed, None, train, np.int32(5)).compile()
    return compiled.as_text(), compiled(placed, None, train, np.int32(5))


@pytest.mark.slow
def test_devices_share_a_population_without_speaking():
    text, spread = sharded(2)
    assert not re.search(COLLECTIVES, text)
    one = trained(CONFIG, Layout(), runs=created(CONFIG, np.arange(4, dtype=np.int32),
                                                 np.full(4, 1e-3, np.float32)))
    spread, one = jax.device_get((spread.members.state, one.members.state))
    chex.assert_trees_all_close(spread.params, one.params, atol=1e-6)
    chex.assert_trees_all_equal(spread.tally.correct, one.tally.correct)


@pytest.mark.slow
def test_eight_devices_share_one_too():
    on_devices(8, (
        "import re, jax, test_population as t\n"
        "text, runs = t.sharded(8)\n"
        "assert len(jax.devices()) == 8 and not re.search(t.COLLECTIVES, text)\n"
        "assert (t.np.asarray(runs.members.state.diverged_at) < 0).all() and int(runs.step) == 5\n"
    ))
