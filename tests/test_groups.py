"""What is frozen, unfrozen late, or has a rate of its own, against PyTorch's parameter groups."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import QUICK
from flax import nnx
from samples import Normed, Tiny, random_split

from engine import RequestError, evaluate, fit, load
from engine.config import Config, Hyper
from engine.doors.checks import check
from engine.doors.course import durations
from engine.optim import groups
from engine.optim.lengths import Durations
from engine.optim.optimizers import OPTIMIZERS
from engine.place import Place
from engine.state import State
from engine.store.checkpoint import Checkpoints
from engine.sweep.asked import sweep
from engine.sweep.space import axis
from engine.updates.chain import optimizer

quickly = partial(jax.jit, compiler_options=QUICK)
LENGTHS = Durations(epoch=3, warmup=0, total=12)
RNG = np.random.default_rng(0)
PARAMS = {layer: {"kernel": RNG.normal(size=(2, 2)).astype("f4"),
                  "bias": RNG.normal(size=2).astype("f4")}
          for layer in ("Conv_0", "Conv_1", "head")}
PARAMS["Conv_1"]["bias"][0] = -0.0  # to which 0 can't be added


def ours(config: Config, hyper: Hyper, steps: int, peak: float | None = None):
    """The params after each of so many updates along the gradient of Σ p² + sin 3p / 3."""
    @quickly
    def run(hyper, params):
        tx = optimizer(config, hyper, LENGTHS, peak)

        def step(at, _):
            params, state = at
            gradient = jax.tree.map(lambda p: 2 * p + jnp.cos(3 * p), params)
            updates, state = tx.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), params

        (_, state), met = jax.lax.scan(step, (params, tx.init(params)), length=steps)
        return met, state

    met, state = run(hyper, PARAMS)
    return [jax.tree.map(lambda x, n=n: np.asarray(x[n]), met) for n in range(steps)], state


def pytorchs(torch, make, rates: dict, begins: dict, steps: int, clip: float, decay: float):
    """`make` makes an optimizer of groups; each layer is one of its kernel (decayed) and one of its
    bias, added when it begins; `course` multiplies the rates of all."""
    tensors = {layer: {name: torch.tensor(p, dtype=torch.float64) for name, p in own.items()}
               for layer, own in PARAMS.items()}
    opt, met = None, []
    for step in range(steps):
        course = 0.5 * (1 + np.cos(np.pi * step / LENGTHS.total))
        for layer in PARAMS:
            if begins.get(layer, 0) != step:
                continue
            for name, tensor in tensors[layer].items():
                tensor.requires_grad_()
                group = {"params": [tensor], "peak": rates.get(layer, 1.0) * 0.1, "lr": 0.0,
                         "weight_decay": decay * (name == "kernel")}
                opt = opt or make([{"params": [torch.zeros(1, requires_grad=True)]}])
                opt.add_param_group(group)
        learnt = [t for own in tensors.values() for t in own.values() if t.requires_grad]
        for t in learnt:
            t.grad = (2 * t + torch.cos(3 * t)).detach()
        torch.nn.utils.clip_grad_norm_(learnt, clip)
        for group in opt.param_groups:
            group["lr"] = group.get("peak", 0.0) * course
        opt.step()
        met.append({layer: {name: t.detach().numpy().copy() for name, t in own.items()}
                    for layer, own in tensors.items()})
    return met


@pytest.mark.parametrize("unfreeze", ["Conv_1=2ep", "Conv_1=6st"])
@pytest.mark.parametrize("name, theirs, values, same_there", [
    ("sgd", "SGD", {"momentum": 0.9}, {"momentum": 0.9}), ("adam", "Adam", {}, {"eps": 1e-7}),
])
def test_groups_are_pytorchs(name, theirs, values, same_there, unfreeze):
    """Frozen for good, frozen until epoch 2, at three times the rate: the clipped norm is of what
    learns, the schedule of all, moments begin with their group, decay is of kernels."""
    config = Config(optimizer=name, schedule="cosine", freeze="Conv_*", unfreeze=unfreeze,
                    rate="head=3x")
    hyper = Hyper(learning_rate=0.1, clip_norm=1.0, weight_decay=0.01, **values)
    got, _ = ours(config, hyper, 10)
    torch = pytest.importorskip("torch")
    make = partial(getattr(torch.optim, theirs), lr=0.1, **same_there)
    want = pytorchs(torch, make, {"head": 3.0}, {"Conv_0": -1, "Conv_1": 6}, 10, 1.0, 0.01)
    for step in (0, 5, 6, 9):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-6), got[step],
                     want[step])
    same = [got[step]["Conv_1"]["bias"].tobytes() == PARAMS["Conv_1"]["bias"].tobytes()
            for step in range(10)]
    assert same == [True] * 6 + [False] * 4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_frozen_keeps_its_bits_and_has_no_moments(name):
    config = Config(optimizer=name, freeze="Conv_*")
    hyper = Hyper(learning_rate=0.1, weight_decay=0.1, clip_norm=1.0, momentum=0.9)
    got, state = ours(config, hyper, 2)
    for layer in ("Conv_0", "Conv_1"):
        for kind, p in PARAMS[layer].items():
            assert np.asarray(got[-1][layer][kind]).tobytes() == p.tobytes()
    assert not np.array_equal(got[-1]["head"]["bias"], PARAMS["head"]["bias"])
    assert not [path for path in groups.paths(state) if "Conv" in path]
    assert [path for path in groups.paths(state) if "head" in path] or name == "sgd"


def test_a_rate_of_its_own_stays_while_the_others_are_swept():
    moved = {}
    for rate in (0.1, 0.3):
        config = Config(optimizer="sgd", rate="head=0.05,head/bias=2x")
        got, _ = ours(config, Hyper(learning_rate=jnp.float32(rate)), 1)
        moved[rate] = jax.tree.map(lambda a, b: a - b, got[0], PARAMS)
    slow, quick = moved[0.1]["head"], moved[0.3]["head"]
    np.testing.assert_allclose(slow["kernel"], quick["kernel"], rtol=1e-5)
    np.testing.assert_allclose(3 * slow["bias"], quick["bias"], rtol=1e-5)
    p = PARAMS["head"]["kernel"]
    np.testing.assert_allclose(slow["kernel"], -0.05 * (2 * p + np.cos(3 * p)), rtol=1e-5)


def test_a_rate_of_its_own_is_lowered_by_a_plateau_like_the_others():
    config = Config(optimizer="sgd", rate="head=0.05")
    before, _ = ours(config, Hyper(learning_rate=0.1), 1)
    after, _ = ours(config, Hyper(learning_rate=0.01), 1, peak=0.1)
    jax.tree.map(lambda a, b, p: np.testing.assert_allclose(a - p, 0.1 * (b - p), atol=1e-6),
                 after[0], before[0], PARAMS)


def test_without_groups_the_chain_is_the_one_of_before():
    state = optimizer(Config(), Hyper(clip_norm=1.0), LENGTHS).init(PARAMS)
    want = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(lambda _: 1.0)).init(PARAMS)
    assert jax.tree.structure(state) == jax.tree.structure(want)


LATE = Config(unfreeze="Conv_0=1ep,Conv_1/kernel=9st,Conv_1/bias=2ep", optimizer="sgd",
              schedule="cosine")


@pytest.mark.parametrize("unfreeze", [LATE.unfreeze, "Conv_0=0.4"])
def test_a_state_has_the_same_keys_whatever_the_runs_lengths(unfreeze):
    """Whoever only reads a run's state knows none of them."""
    late = dataclasses.replace(LATE, unfreeze=unfreeze)
    first, second = (optimizer(late, Hyper(), LENGTHS._replace(epoch=epoch)).init(PARAMS)
                     for epoch in (1, 9))
    assert jax.tree.structure(first) == jax.tree.structure(second)


@pytest.mark.parametrize("momentum", [None, 0.9])
def test_a_state_whose_groups_went_by_their_steps_is_read(tmp_path, momentum):
    """As runs had them, here with 13 steps an epoch."""
    state = State(step=jnp.int32(1), params=PARAMS, batch_stats={}, tally={},
                  diverged_at=jnp.int32(-1),
                  opt_state=optimizer(LATE, Hyper(momentum=momentum), LENGTHS).init(PARAMS))
    at = iter(range(99))
    state = state._replace(opt_state=jax.tree.map(lambda x: x + next(at), state.opt_state))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(groups.rekeyed(state, {-2: 13, -3: 26}), 0.5, 0.0)
    assert "inner_states[26]" in (tmp_path / "1" / "record" / "metadata").read_text()
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        found, _ = checkpoints.restore(jax.eval_shape(lambda: state))
    jax.tree.map(np.testing.assert_array_equal, found, state)


FOUND = ["Conv_0/bias", "Conv_0/kernel", "Dense_0/kernel", "Dense_10/kernel"]


@pytest.mark.parametrize("glob, names", [
    ("Conv_0", FOUND[:2]), ("Conv_*", FOUND[:2]), ("*/kernel", FOUND[1:]), ("Dense_1*", FOUND[3:]),
    ("Dense_1", []), ("conv_0", []), ("Conv_0/kernel", FOUND[1:2]),
])
def test_a_glob_names_a_parameter_or_what_it_lies_in(glob, names):
    assert [path for path in FOUND if groups.named(glob, path)] == names


@pytest.mark.parametrize("flags, said", [
    ({"freeze": "Cnv_0"}, "parameter of --freeze 'Cnv_0': did you mean Conv_0"),
    ({"rate": "Conv_9=2x"}, "--rate 'Conv_9': did you mean Conv_0"),
    ({"unfreeze": "zzz=2"}, "--unfreeze 'zzz': choose from Conv_0, Dense_0, Dense_10"),
    ({"freeze": "*"}, "nothing would learn at all"),
    ({"freeze": "Conv_*", "unfreeze": "Dense_*=2ep"}, "nothing would learn in the beginning"),
    ({"freeze": "Conv_0,"}, "names nothing between its commas"),
    ({"unfreeze": "Conv_0"}, "such as Conv_1=2ep or Conv_1=300st"),
    ({"rate": "Conv_0=fast"}, "Conv_\\*=0.1x or"),
    ({"rate": "Conv_0=0x"}, "a finite number above 0"), ({"rate": "Conv_0=nan"}, "above 0"),
    ({"freeze": "Conv_0", "rate": "Conv_0/*=2x"}, "what it names is frozen"),
])
def test_what_cant_be_meant_of_parameters_is_refused(flags, said):
    with pytest.raises(RequestError, match=said):
        found = groups.asked(flags.get("freeze", ""), flags.get("unfreeze", ""),
                             flags.get("rate", ""))
        groups.multiples(found, FOUND, 1.0)


@pytest.mark.parametrize("refused, said", [
    (lambda: check(Config(unfreeze="Conv_0=10"), Hyper()),
     "--unfreeze 10.0 is as long as the run of 10 epochs"),
    (lambda: durations(Config(unfreeze="a=300st", epochs=2), 64), "long as the run of 4 updates"),
    (lambda: check(Config(unfreeze="a=1", optimizer=lambda hyper, _: None), Hyper()), "your own"),
    (lambda: check(Config(rate="a=0.1"), Hyper(learning_rate=0.0)), "no learning_rate above 0"),
    (lambda: axis("freeze=a,b"), "start a sweep for each"),
])
def test_what_no_network_could_mean_is_refused_at_once(refused, said):
    with pytest.raises(RequestError, match=said):
        refused()


class OfNNX(nnx.Module):
    def __init__(self, num_classes, rngs):
        self.layers = nnx.List([nnx.Linear(324, 8, rngs=rngs),
                                nnx.Linear(8, num_classes, rngs=rngs)])

    def __call__(self, x):
        return self.layers[1](nnx.relu(self.layers[0](x.reshape(len(x), -1))))


class OfFunctions:
    def init(self, key, inputs):
        return [jnp.ones((324, 4)) / 324, jnp.zeros(4)]

    def apply(self, params, inputs):
        return inputs.reshape(len(inputs), -1) @ params[0] + params[1]


def by_hand(hyper: Hyper, durations):
    return optax.adam(hyper.learning_rate)


@pytest.mark.slow
@pytest.mark.parametrize("model, freeze, optimizer", [
    (Normed, "Dense_0", "adam"), (OfNNX, "layers/0", "adam"), (OfFunctions(), "1", "adam"),
    (Normed, "Dense_0", by_hand),
])
def test_any_network_and_optimizer_can_be_frozen_and_resumed(here, model, freeze, optimizer):
    """Statistics of a frozen layer follow the data; a run resumed is the run."""
    config = Config(model=model, optimizer=optimizer, freeze=freeze, epochs=2, batch_size=8,
                    validation_split="0.2")
    split = random_split(40)
    place = Place(run_dir="r", device="cpu")
    fit(dataclasses.replace(config, epochs=1), place=place, data=tuple(split), quiet=True)
    fit(config, place=place, data=tuple(split), resume="r", quiet=True)
    fit(config, place=Place(run_dir="w", device="cpu"), data=tuple(split), quiet=True)
    state = load("r", config, "last").state
    jax.tree.map(np.testing.assert_array_equal, state, load("w", config, "last").state)
    found = dict(zip(groups.paths(state.params), jax.tree.leaves(state.params), strict=True))
    one = fit(dataclasses.replace(config, epochs=1), place=Place(run_dir="s", device="cpu"),
              data=tuple(split), quiet=True)
    for path, leaf in zip(found, jax.tree.leaves(one.state.params), strict=True):
        assert np.array_equal(leaf, found[path]) == groups.named(freeze, path), path
    if state.batch_stats:
        assert np.any(state.batch_stats["BatchNorm_0"]["mean"])


@pytest.mark.slow
def test_a_run_whose_parameters_learn_after_epochs_is_read_and_goes_on(here):
    config = Config(model=Tiny, unfreeze="Dense_0=1ep", epochs=3, batch_size=8)
    data, place = tuple(random_split(40)), Place(run_dir="r", device="cpu")
    fit(dataclasses.replace(config, epochs=2), place=place, data=data, quiet=True)
    run = fit(config, place=place, data=data, resume="r", quiet=True)
    whole = fit(config, place=Place(run_dir="w", device="cpu"), data=data, quiet=True)
    states = [load(path, config, "last").state for path in "rw"]
    jax.tree.map(np.testing.assert_array_equal, *states)
    np.testing.assert_array_equal(load("r", config).predict(data[0]), run.predict(data[0]))
    assert evaluate("r", data, config=config)["accuracy"] == whole.metrics["accuracy"]
    sweep(config, {"learning_rate": [0.01, 0.1]}, place=Place(run_dir="s", device="cpu"), data=data,
          quiet=True)
    assert len(load("s", config).predict(data[0])) == 40
