"""Python's door: what Config, Place, Hyper, fit, train, load and evaluate take from a script, and
what they refuse in words."""

import ast
import dataclasses
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from samples import Tiny, random_split

import engine
import flaxmill
from engine import Config, Hyper, evaluate, fit, load, train
from engine.errors import RequestError, RunError
from engine.place import Place
from engine.pure import data_for
from engine.request import Request
from engine.store import generator, record
from engine.sweep.ensembles import Ensemble
from engine.sweep.found import Sweep
from engine.sweep.search import Search
from engine.trained import Run

pytestmark = pytest.mark.usefixtures("quickly", "undrawn")
CONFIG = Config(model=Tiny, epochs=1, batch_size=16)
X, Y = random_split(60, side=4)[:2]


def place(path: Path) -> Place:
    return Place(device="cpu", run_dir=path / "run")


@pytest.mark.parametrize("given, kept", [
    ({"epochs": np.int64(2)}, 2), ({"epochs": 2.0}, 2), ({"seed": np.arange(3)[1]}, 1),
    ({"validation_split": 0.2}, "0.2"), ({"milestones": [30, 60]}, "30,60"),
    ({"freeze": ("Dense_0", "Conv_*")}, "Dense_0,Conv_*"), ({"min_delta": np.float32(0.5)}, 0.5),
    ({"dataset": Path("digits")}, "digits"), ({"flip": np.True_}, True),
    ({"class_weights": {np.int64(0): np.float32(2), np.str_("b"): 1}}, '{"0": 2.0, "b": 1}'),
    ({"class_weights": None}, ""),
])
def test_numbers_and_paths_become_plain(given, kept):
    (name,) = given
    value = getattr(Config(**given), name)
    assert value == kept and type(value) is type(kept)
    assert Config(**given) == Config(**{name: kept})


@pytest.mark.parametrize("given, said", [
    ({"flip": "no"}, "flip: 'no' is a str; give True or False"),
    ({"flip": 1}, "flip: 1 is a int; give True or False"),
    ({"epochs": 1.5}, "epochs: 1.5 is a float; give a whole number"),
    ({"epochs": "3"}, "epochs: '3' is a str; give a whole number"),
    ({"epochs": True}, "epochs: True is a bool; give a whole number"),
    ({"patience": None}, "patience: None is a NoneType; give a number"),
    ({"shuffle": True}, "shuffle: True is a bool; give text"),
    ({"threshold": "0.5"}, "threshold: '0.5' is a str; give a number"),
])
def test_a_field_of_another_type_is_refused(given, said, tmp_path):
    with pytest.raises(RequestError, match=said):
        fit(dataclasses.replace(CONFIG, **given), None, place(tmp_path), (X, Y))
    assert not list(tmp_path.iterdir())


class Rate(NamedTuple):
    learning_rate: float = 1e-3


@pytest.mark.parametrize("words, said", [
    (((X, Y),), r"hyper is a tuple: give Hyper\(learning_rate=...\), and data by its name"),
    (({"learning_rate": 1e-3},), "hyper is a dict"),
    ((Hyper(), (X, Y)), r"place is a tuple: give Place\(run_dir=...\), and data by its name"),
    ((Hyper(), "runs/mine"), "place is a str"),
    ((X, Y), "hyper is a ndarray"), ((Hyper(), Y), "place is a ndarray"),
    ((Rate(),), "hyper is a Rate, without weight_decay, .* which --optimizer adam needs: values"),
    ((Hyper(learning_rate="1e-3"), Place(device="cpu"), (X, Y)), "learning_rate: '1e-3' is text"),
])
def test_what_stands_in_anothers_place_is_refused(words, said, here):
    with pytest.raises(RequestError, match=said):
        fit(CONFIG, *words)


@pytest.mark.parametrize("words, said", [
    ({"config": {"model": "mlp"}}, r"config is a dict: give Config\(model=...\)"),
    ({"loggers": print}, "loggers are .*: give a list of functions of a row"),
    ({"loggers": [print, lambda epoch, row: None]}, r"logger .*lambda.* can't be called with an "
     r"epoch's row alone \(missing a required argument: 'row'\): give a function of one"),
    ({"loggers": [lambda: None]}, r"alone \(too many positional arguments\): give"),
    ({"loggers": ["csv"]}, r"loggers are \['csv'\]: .* Place\(log='tensorboard'\)"),
    ({"config": Config(init_from={"Dense_0": X})}, "init_from: .* is a dict; give"),
])
def test_what_is_no_config_and_no_logger_is_refused_and_leaves_nothing(words, said, here):
    with pytest.raises(RequestError, match=said):
        fit(**{"config": CONFIG, "data": (X, Y)} | words)
    assert not list(here.iterdir())


class Other(Tiny):
    """Of the same arrays, and another function."""

    @nn.compact
    def __call__(self, x, train: bool):
        return nn.Dense(self.num_classes)(jnp.tanh(nn.Dense(16)(x.reshape(x.shape[0], -1))))


@pytest.mark.slow
def test_a_run_is_loaded_and_judged_by_its_own_config(tmp_path):
    """Of which only the objects have to be given again, and by the run itself in a path's place."""
    config = dataclasses.replace(CONFIG, validation_split="2/5", seed=np.int64(3))
    run = fit(config, Hyper(np.float32(1e-2)), place(tmp_path), (X, Y), quiet=True)
    again = load(run, Config(model=Tiny))
    np.testing.assert_array_equal(again.predict(X), run.predict(X))
    found = evaluate(run, (X, Y), config=Config(model=Tiny))
    assert (found["split"], found["num_examples"]) == ("validation (2/5 of train)", 12)
    assert found["accuracy"] == run.metrics["accuracy"]
    with pytest.raises(RequestError, match="held 2/5 of train out, and another part holds what"):
        evaluate(run, (X, Y), config=Config(model=Tiny, validation_split="0.5"))
    for ask in (load, lambda *given: evaluate(given[0], (X, Y), config=given[1])):
        with pytest.raises(RequestError, match="was Tiny, an object in Python, and now it is Oth"):
            ask(run, Config(model=Other))
    for word in ("9", "final"):
        with pytest.raises(RequestError, match=f"checkpoint '{word}': choose from best, last"):
            load(run, Config(model=Tiny), checkpoint=word)


class Mean(nn.Module):
    """Of the words that are there: 0 of an empty text, which has no mean."""

    num_outputs: int

    @nn.compact
    def __call__(self, x):
        there = (x > 0)[..., None]
        words = jnp.where(there, nn.Embed(30, 8)(x), 0).sum(1)
        return nn.Dense(self.num_outputs)(words / there.sum(1).astype(jnp.float32))


@pytest.mark.parametrize("targets", ["classes", "numbers", "labels"])
def test_examples_without_an_answer_have_no_scores(targets, tmp_path):
    """Their argmax would be class 0, which was right of all of these."""
    words = np.random.default_rng(0).integers(1, 30, (60, 9))
    y = {"classes": words[:, 0] % 3, "numbers": words[:, :1] / 30,
         "labels": words[:, :3] % 2}[targets]
    task = {"classes": "classification", "numbers": "regression", "labels": "multilabel"}[targets]
    config = Config(model=Mean, task=task, epochs=1, batch_size=16)
    test = np.where(np.arange(10)[:, None] < 7, words[:10], 0), np.zeros_like(y[:10])
    said = "3 of 10 predictions, the first of example 7, are no numbers"
    with pytest.raises(RunError, match=said) as ended:
        fit(config, place=place(tmp_path), data={"train": (words, y), "test": test},
            quiet=True)
    assert ended.value.status == 3
    run = load(tmp_path / "run", config)
    assert np.isfinite(run.predict(words)).all() and np.isnan(run.predict(test[0])[7:]).all()
    with pytest.raises(RunError, match=said):
        evaluate(run, {"test": test}, config=dataclasses.replace(config, validation_split="test"))
    assert evaluate(run, {"test": (words, y)}, config=config)["loss"] > 0


class Bent(nn.Module):
    bend: Any = nn.relu

    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(self.bend(nn.Dense(4)(x.reshape(len(x), -1))))


SCALE = np.ones(1, np.float32)


class Scaled(nn.Module):
    """Which reads a global, as one does whose helpers are edited and imported anew."""

    num_classes: int = 4

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_classes)(jnp.cos(x.reshape(len(x), -1) * SCALE))


def test_what_a_network_reads_may_change_between_runs(tmp_path, monkeypatch):
    """An object that stays equal has programs of its own where it computes something else."""
    learners, x = [], np.float32(X) / 255
    for number, scale in enumerate((1, 3, 1)):
        monkeypatch.setitem(globals(), "SCALE", np.full(1, scale, np.float32))
        config = dataclasses.replace(CONFIG, model=Scaled())
        run = fit(config, None, Place(device="cpu", run_dir=tmp_path / str(number)), (X, Y))
        plain = jax.nn.softmax(Scaled().apply({"params": run.state.params}, x))
        for one in (run, load(run, config)):
            np.testing.assert_allclose(one.predict(X), plain, atol=1e-6)
        assert evaluate(run, (X, Y), config=config)["loss"] == pytest.approx(run.metrics["loss"])
        learners.append(run.learner)
    assert learners[0] == learners[2] != learners[1]


RATE = 0.5


class Dropping(nn.Module):
    num_classes: int = 4

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dropout(RATE)(x.reshape(len(x), -1), deterministic=not train)
        return nn.Dense(self.num_classes)(x)


def test_what_a_network_reads_in_training_alone_may_change_too(tmp_path, monkeypatch):
    learners = []
    for number, rate in enumerate((0.5, 0.1, 0.5)):
        monkeypatch.setitem(globals(), "RATE", rate)
        config = dataclasses.replace(CONFIG, model=Dropping())
        run = fit(config, None, Place(device="cpu", run_dir=tmp_path / str(number)), (X, Y))
        learners.append(run.learner)
    assert learners[0] == learners[2] != learners[1]


def test_a_network_given_again_with_other_values_is_told(tmp_path, capsys):
    """That computes something else of the same parameters."""
    run = fit(dataclasses.replace(CONFIG, model=Bent()), place=place(tmp_path), data=(X, Y),
              quiet=True)
    load(run, Config(model=Bent()))
    assert "and now it is" not in capsys.readouterr().err
    load(run, Config(model=Bent(nn.tanh)))
    told = " ".join(capsys.readouterr().err.split())
    assert "was <Bent(" in told and "tanh" in told and "wrong unless both compute the same" in told


@pytest.mark.slow
def test_what_only_training_uses_need_not_be_given_again(tmp_path):
    """The augmentation; the optimizer, of whose state a checkpoint tells, is asked for in words."""
    def halved(key, x):
        return x / 2

    def descent(hyper, durations):
        return optax.sgd(0.1, momentum=0.9)

    config = dataclasses.replace(CONFIG, augment=halved, optimizer=descent)
    run = fit(config, place=place(tmp_path), data=(X, Y), quiet=True)
    given = Config(model=Tiny, optimizer=descent)
    np.testing.assert_array_equal(load(run, given).predict(X), run.predict(X))
    assert evaluate(run, (X, Y), config=given)["loss"] == run.metrics["loss"]
    ours = dataclasses.replace(CONFIG, model="mlp", augment=halved)
    run_of_ours = fit(ours, place=place(tmp_path / "ours"), data=(X, Y), quiet=True)
    for told in None, Config(augment=halved):  # whose own config says the rest
        assert load(run_of_ours, told).learner.config.model == "mlp"
    for name, lacking in ("optimizer", Config(model=Tiny)), ("model", Config(optimizer=descent)):
        with pytest.raises(RequestError, match=f"the {name} of .* was .*, an object in Python.*, "
                           rf"and none is given now: give that one, .*\({name}=") as told:
            load(run, lacking)
        assert ("whose state is in its checkpoints" in str(told.value)) == (name == "optimizer")
    with pytest.raises(RequestError, match="augment was '<.*halved>'"):
        fit(Config(model=Tiny, optimizer=descent, epochs=2, batch_size=16), place=place(tmp_path),
            data=(X, Y), resume=run, quiet=True)


@pytest.mark.slow
def test_numbers_are_loaded_as_the_task_that_was_found_for_them(tmp_path):
    config = dataclasses.replace(CONFIG, model=nn.Dense(1))
    x, y = np.float32(X.reshape(60, -1) / 255), np.float32(Y + 0.5)
    run = fit(config, None, place(tmp_path), (x, y), quiet=True)
    assert load(run, config).learner.task == run.learner.task
    _, history = train(config, Hyper(), jax.random.key(0), data_for(config, (x, y)))
    assert {"mse", "val_mse"} <= {*history}


@pytest.mark.parametrize("given", [
    {"image_size": 32}, {"target": "x"}, {"pixels": True}, {"labels": "a.csv"}, {"group": "x"}])
def test_what_objects_do_not_heed_is_refused(given, tmp_path):
    (name,) = given
    with pytest.raises(RequestError, match=f"--{name}.* has no effect with data that are objects"):
        fit(dataclasses.replace(CONFIG, **given), None, place(tmp_path), (X, Y), quiet=True)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("network, task, said", [
    (nn.Dense(2), "regression", r"outputs of shape \(2, 2\) .* needs \(2, 1\)"),
    (nn.Sequential([nn.Dense(1), jnp.ravel]), "regression", r"outputs of shape \(2,\)"),
    (nn.Dense(3), "classification", r"outputs of shape \(2, 3\) .* needs \(2, 4\)"),
])
def test_train_refuses_what_fit_does(network, task, said):
    """Outputs of another shape would be spread over the targets' without a word."""
    config = dataclasses.replace(CONFIG, model=network, task=task)
    x, y = np.float32(X.reshape(60, -1) / 255), np.float32(Y + 0.5) if task == "regression" else Y
    data = data_for(config, (x, y))
    with pytest.raises(RequestError, match=said):
        jax.jit(train)(config, Hyper(), jax.random.key(0), data)


@pytest.mark.slow
def altered(part="train", split=None, rows=None):
    """The data of CONFIG with other arrays."""
    data = data_for(CONFIG, (X, Y))
    subset = getattr(data, part)
    changed = subset._replace(split=subset.split._replace(**split or {}),
                              rows=subset.rows if rows is None else rows)
    return dataclasses.replace(data, **{part: changed})


KEY = jax.random.key(0)
WRONG = {
    "config": (lambda: {"config": {}}, r"config is a dict: give Config\(model=...\)"),
    "hyper": (lambda: {"hyper": 0.01}, "hyper is a float: give Hyper"),
    "class": (lambda: {"hyper": Hyper}, "hyper is a type: give Hyper"),
    "own hyper": (lambda: {"hyper": Rate()}, "hyper is a Rate, without weight_decay"),
    "rates": (lambda: {"hyper": Hyper(jnp.ones(2))},
              r"learning_rate is several numbers: .* jax.vmap"),
    "no rate": (lambda: {"hyper": Hyper(None)}, "learning_rate is None: give a number"),
    "schedule": (lambda: {"hyper": Hyper(optax.cosine_decay_schedule(1e-2, 10))},
                 "is a function; give a number, and its course by --schedule or an optimizer"),
    "complex": (lambda: {"hyper": Hyper(jnp.complex64(1))},
                r"learning_rate: Array\(1.* is a .*; give a number"),
    "random": (lambda: {"hyper": Hyper(KEY)}, "is a PRNGKeyArray; give a number"),
    "negative": (lambda: {"hyper": Hyper(jnp.float32(-1))},
                 "--learning_rate -1.0: type a finite number"),
    "key": (lambda: {"key": 0}, r"key is a int: give jax.random.key\(0\)"),
    "keys": (lambda: {"key": jax.random.split(KEY, 3)}, r"key has the shape \(3,\): give one"),
    "shuffles": (lambda: {"order": 5}, r"order is a int: give jax.random.key\(0\)"),
    "orders": (lambda: {"order": jax.random.split(KEY, 3)}, r"order has the shape \(3,\): g"),
    "an order of values": (lambda: {"order": Hyper()}, "order is a Hyper: give"),
    "arrays": (lambda: {"data": (X, Y)}, r"data is a tuple: give data_for\(config, \(x, y\)\)"),
    "weights": (lambda: {"data": altered(split={"weights": jnp.ones(54)})},
                r"weights have the shape \(54,\): give one for each of the split's 60"),
    "targets": (lambda: {"data": altered(split={"targets": jnp.ones(9, jnp.int32)})},
                "data.train.split has 60 inputs and 9 targets"),
    "bool": (lambda: {"data": altered(split={"targets": jnp.ones(60, bool)})}, "targets are bool"),
    "stacked": (lambda: {"data": jax.tree.map(lambda x: jnp.stack([x, x]), altered())},
                r"data.train.rows are int32 \(2, 54\): .*jax.vmap"),
    "mask": (lambda: {"data": altered(rows=jnp.ones(60, bool))}, "data.train.rows are bool"),
    "empty": (lambda: {"data": altered("validation", rows=jnp.arange(0))},
              "data.validation.rows are int32"),
    "order": (lambda: {"config": dataclasses.replace(CONFIG, order_seed=3)},
              r"order_seed has no effect in train, .* give order=jax.random.key\(3\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_train_says_what_an_argument_is_and_what_to_give(case):
    given, said = WRONG[case]
    with pytest.raises(RequestError, match=said):
        train(**{"config": CONFIG, "hyper": Hyper(), "key": KEY, "data": altered()} | given())


@pytest.mark.parametrize("hyper", [
    Hyper([0.1, 0.2]), Hyper(jnp.ones(1)), Hyper(None), Hyper(np.square), Hyper(object()),
    Hyper(1j), Hyper(weight_decay={"a": 1.0}), Hyper(weight_decay=b"1")])
def test_fit_refuses_what_is_no_number_before_a_folder_is_made(hyper, tmp_path):
    with pytest.raises(RequestError, match="^(learning_rate|weight_decay).* is .*[:;] give "):
        fit(CONFIG, hyper, place(tmp_path / "run"), (X, Y))
    assert not (tmp_path / "run").exists()


def test_train_takes_arrays_of_numpy_as_of_jax():
    data, run = altered(), jax.jit(train, static_argnums=0)
    found = [jax.vmap(lambda hyper, data=each: run(CONFIG, hyper, KEY, data)[1]["loss"])(
        Hyper(jnp.ones(2)))[0] for each in (data, jax.tree.map(np.asarray, data))]
    np.testing.assert_array_equal(*found)


def test_parameters_of_bfloat16_are_saved(tmp_path):
    config = dataclasses.replace(CONFIG, model=nn.Dense(
        4, dtype=jnp.float32, param_dtype=jnp.bfloat16))
    x = np.float32(X.reshape(60, -1) / 255)
    run = fit(config, None, place(tmp_path), (x, Y), quiet=True)
    again = load(run, config)
    assert again.state.params["kernel"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(again.predict(x), run.predict(x))
    for wrong in (np.nan, -np.inf, 1e300):  # of which nothing is predicted
        holed = np.where(np.arange(x.size).reshape(x.shape) % 700 == 5, wrong, x.astype(float))
        with pytest.raises(RequestError, match="2 of its 60 examples are NaN or infinite as floa"):
            run.predict(holed)
    with pytest.raises(RequestError, match=r"60 examples are whole numbers beyond 16,777,216, and"):
        run.predict(np.full(x.shape, 2**24 + 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["val", "valid", "dev", "validation"])
def test_a_split_of_a_usual_name_validates(name, tmp_path):
    run = fit(CONFIG, None, place(tmp_path), {"train": (X[:40], Y[:40]), name: (X[40:], Y[40:])},
              quiet=True)
    assert (run.metrics["split"], run.metrics["num_examples"]) == (name, 20)


class Untold(nn.Module):
    """One whose call has another name for whether it is in training."""

    num_classes: int = 4

    @nn.compact
    def __call__(self, x, learning: bool = False):
        x = nn.Dense(8)(x.reshape(x.shape[0], -1))
        return nn.Dense(self.num_classes)(nn.BatchNorm(use_running_average=not learning)(x))


@pytest.mark.slow
def test_a_network_that_is_never_told_that_it_trains_is_named(tmp_path, capsys):
    fit(dataclasses.replace(CONFIG, model=Untold), None, place(tmp_path), (X, Y))
    assert "model Untold keeps batch statistics, and is never told" in capsys.readouterr().out


def test_a_run_that_is_not_there_is_not_begun_by_resuming_it(tmp_path):
    with pytest.raises(RequestError, match="no run in .*nowhere: it holds no config.json"):
        fit(CONFIG, None, Place(device="cpu"), (X, Y), resume=tmp_path / "nowhere", quiet=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name, setting, was, usual", [
    ("jax_default_prng_impl", jax.default_prng_impl, "rbg", "threefry2x32"),
    ("jax_threefry_partitionable", jax.threefry_partitionable, False, True),
])
def test_a_run_goes_on_under_the_settings_that_its_keys_had(name, setting, was, usual, tmp_path):
    """By others its examples would come in another order."""
    content = {"fingerprint": ""}
    with setting(was):
        facts = generator.facts()
        assert facts["jax"][name] == was
        generator.check(tmp_path, content | facts, facts)
        generator.check(tmp_path, content, facts)  # of a run of before nobody knows
    assert generator.facts()["jax"][name] == usual
    with pytest.raises(RequestError, match=rf"{name} {was!r}, now {usual!r}: .*jax.config.update\("
                                           f"'{name}', {was!r}.* {name.upper()}={was}"):
        generator.check(tmp_path, content | facts, generator.facts())


def test_a_run_of_another_generator_is_not_gone_on_with(tmp_path):
    with jax.default_prng_impl("rbg"):
        run = fit(CONFIG, None, place(tmp_path), (X, Y), quiet=True)
    with pytest.raises(RequestError, match="jax_default_prng_impl 'rbg', now 'threefry2x32'"):
        fit(CONFIG, None, Place(device="cpu"), (X, Y), resume=run, quiet=True)


def test_a_run_to_go_on_with_that_is_none_is_a_new_one(tmp_path):
    """As argparse has it; told by a refusal that comes after it was read."""
    with pytest.raises(RequestError, match="--importances shuffles a table's columns"):
        fit(CONFIG, None, place(tmp_path), (X, Y), resume=None, importances=True, quiet=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("begun, file", [(fit, "config.json"), (flaxmill.sweep, "sweep.json")])
def test_what_goes_on_names_one_folder_and_its_data(begun, file, here):
    saved = record.to_json(Request(Config(model="mlp", dataset="arrays")))
    for name in ("a", "b"):
        Path(name).mkdir()
        (Path(name) / file).write_text(json.dumps(saved | {"search": Search()._asdict()}))
    with pytest.raises(RequestError, match=r"folder already, a, and Place\(run_dir='b'\) another"):
        begun(Config(model="mlp"), data=(X, Y), resume="a", place=Place(run_dir="b"), quiet=True)
    for where in (Place(), Place(run_dir=here / "a")):
        with pytest.raises(RequestError, match=r"its data were objects.*fit\(config, data=\.\.\."):
            begun(Config(model="mlp"), resume="a", place=where, quiet=True)
    assert len([*here.rglob("*")]) == 4


def result(made: type, path: Path, **more: Any) -> Any:
    if made is Sweep:
        return Sweep(path, [{"run": 0}], (Config(), Hyper()))
    learner: Any = None
    return made(path, [], {}, np.zeros(2), learner, (), (2,), "float32", **more)


@pytest.mark.parametrize("made", [Run, Sweep, Ensemble])
def test_a_result_stands_for_its_folder_wherever_the_process_goes(made, here, monkeypatch):
    found = result(made, Path("a"))
    assert "'a'" in repr(found)
    monkeypatch.chdir(here.parent)
    assert found.path == Path(os.fspath(found)) == here / "a"
    assert f"'{here.name}/a'" in repr(found)


def test_a_logger_may_go_to_another_folder(here, capsys):
    Path("other").mkdir()
    run = fit(CONFIG, None, Place(device="cpu", run_dir="run"), (X, Y), quiet=False,
              loggers=[lambda row: os.chdir("other")])
    assert load(run, CONFIG).path == here / "run" and "run: run\n" in capsys.readouterr().out


def test_the_home_folder_is_expanded_wherever_a_run_is_named(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    assert Place(run_dir="~/run").run_dir == f"{here}/run"
    (here / "run").mkdir()
    for asked in (load, evaluate, lambda run: fit(CONFIG, data=(X, Y), resume=run)):
        with pytest.raises(RequestError, match=f"{here}/run"):
            asked("~/run")


@pytest.mark.parametrize("name, said", [("l" * 300, "File name too long"), ("a\0b", "null")])
def test_a_name_that_no_folder_can_have_is_refused(name, said, here):
    with pytest.raises(RequestError, match=rf"--run_dir (?s:.*): .*{said}.*; name another folder"):
        fit(CONFIG, None, Place(device="cpu", run_dir=name), (X, Y))


@pytest.mark.slow
def test_a_transfer_guard_is_for_the_callers_own_arrays(tmp_path):
    """Of all threads, as a script's is."""
    jax.config.update("jax_transfer_guard", "disallow_explicit")
    try:
        for stream in False, True:
            asked = Place(device="cpu", run_dir=tmp_path / str(stream), stream=stream)
            run = fit(CONFIG, None, asked, (X, Y), quiet=True)
        data_for(CONFIG, (X, Y))
        assert len(load(run, CONFIG).predict(X)) == len(X)
        with pytest.raises(Exception, match="Disallowed"):
            jnp.asarray(X)
    finally:
        jax.config.update("jax_transfer_guard", None)


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
def test_a_mesh_that_is_set_is_for_the_callers_own_arrays(kind, tmp_path):
    with jax.set_mesh(jax.make_mesh((2,), ("x",), axis_types=(kind,))):
        run = fit(CONFIG, None, place(tmp_path), (X, Y), quiet=True)
        data, mesh = data_for(CONFIG, (X, Y)), jax.sharding.get_abstract_mesh()
        assert mesh.axis_names == ("x",) and len(data.train.rows.devices()) == 1
        # By the caller's mesh jax 0.12 compiles the two otherwise, where a CPU rounds otherwise.
        np.testing.assert_allclose(load(run, CONFIG).predict(X), run.predict(X), rtol=1e-6)


def test_data_are_made_where_jax_does_not_trace():
    with pytest.raises(RequestError, match="data_for runs on the host, .*: call it outside, and p"):
        jax.jit(lambda x, y: data_for(CONFIG, (x, y)).train.rows)(X, Y)


@pytest.mark.parametrize("way, said", [
    (jax.disable_jit(), "jax_disable_jit: .* debug with train"),
    (jax.jit, "run on the host, .*: give train to jax.jit")])
def test_what_runs_on_the_host_is_refused_where_jax_traces_or_does_not(way, said, here):
    def asked(rate: Any) -> Any:
        fit(CONFIG, None, Place(device="cpu"), (X, Y))
        return rate

    with pytest.raises(RequestError, match=said):
        way(asked)(0.1)
    assert not list(here.iterdir())


def test_a_logger_that_answers_neither_yes_nor_no_is_named(tmp_path):
    def pair(row):
        return np.array([1, 2])

    with pytest.raises(RunError, match=r"logger pair gave array\(\[1, 2\]\): give a reason"):
        fit(CONFIG, None, place(tmp_path), (X, Y), loggers=[pair])


@pytest.mark.parametrize("given", [None, 3, b"run"])
def test_what_is_no_folder_is_refused_as_a_run(given):
    for asked in (load, evaluate):
        with pytest.raises(RequestError, match=f"run is {given}, a {type(given).__name__}: give "):
            asked(given)


@pytest.mark.parametrize("made", [Run, Sweep, Ensemble])
def test_a_result_is_equal_to_itself_alone(made):
    """Whose arrays have no one truth, and no hash."""
    one, other = result(made, Path("a")), result(made, Path("a"))
    assert one == one and one != other and one in {one} and other not in [one]


def test_a_type_checker_sees_every_public_name_where_it_is_found():
    stub = ast.parse(Path(flaxmill.__file__).with_suffix(".pyi").read_text())
    told = {alias.asname: f"{node.module}.{alias.name}" for node in stub.body
            if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert told == {name: f"engine.{module}.{name}" for name, module in engine._FROM.items()}
    assert {*flaxmill.__all__} == {*told, "__version__"}
