"""Several inputs by their names: packed without loss, handed to a network as they came."""

import dataclasses
import json
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from flax import nnx
from samples import Tiny

from engine.command import summary
from engine.command.predictions import tell
from engine.config import Config, Hyper
from engine.doors import handed
from engine.errors import RequestError
from engine.evaluation import evaluate
from engine.export import card, program
from engine.job.host import begin
from engine.learners.chosen import learner_of
from engine.loaded import load
from engine.objects import arrays
from engine.place import Place
from engine.pure import data_for
from engine.report import importance
from engine.request import Request
from engine.run import fit
from engine.sets import bundle
from engine.sets.bundle import Bundle
from engine.store import folder
from engine.sweep.asked import sweep

RNG = np.random.default_rng(0)
N, MOST = 48, 5000
GIVEN = {
    "words": RNG.integers(0, MOST, (N, 6)),
    "picture": RNG.integers(0, 256, (N, 4, 4, 1)).astype("u1"),
    "age": RNG.normal(size=N),
}
Y = (GIVEN["words"][:, 0] > MOST // 2).astype(int)


class Both(nn.Module):
    """Of all three."""

    @nn.compact
    def __call__(self, x, train: bool):
        words = nn.Embed(MOST, 8)(x["words"]).mean(1)
        pixels = nn.Dense(4)(x["picture"].reshape(len(words), -1))
        return nn.Dense(2)(jnp.concatenate([words, pixels, x["age"][:, None]], axis=-1))


class BothNNX(nnx.Module):
    def __init__(self, *, rngs):
        self.words, self.head = nnx.Embed(MOST, 8, rngs=rngs), nnx.Linear(9, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(jnp.concatenate([self.words(x["words"]).mean(1), x["age"][:, None]], -1))


CONFIG = Config(model=Both(), epochs=2, batch_size=16)
PLACE = Place(device="cpu", report=False)
DATA = {"train": (GIVEN, Y), "test": (GIVEN, Y)}


def test_what_is_packed_comes_back():
    found = Bundle.of("train", GIVEN)
    assert str(found) == "age (float32), picture (4 × 4 × 1 × uint8), words (6 × int32)"
    packed = found.pack("train", GIVEN)
    assert packed.shape == (N, found.width) == (N, 6 + 16 + 1) and packed.dtype == np.float32
    for one in (packed, jnp.asarray(packed)):
        got = found.unpacked(one)
        assert [x.dtype for x in got.values()] == [np.float32, np.float32, np.int32]
        np.testing.assert_array_equal(got["words"], GIVEN["words"])
        np.testing.assert_allclose(got["picture"], GIVEN["picture"] / 255, rtol=1e-6)
        np.testing.assert_array_equal(got["age"], GIVEN["age"].astype("f4"))
    network, whole = handed.Unpacked(None, found), jnp.asarray(packed)
    np.testing.assert_array_equal(network.taken_back(network.handed(whole), whole), packed)
    np.testing.assert_array_equal(network.part(packed, whole=True), GIVEN["words"])
    floats = network.part(packed, whole=False)
    np.testing.assert_array_equal(floats[:, 0], GIVEN["age"].astype("f4"))
    assert bundle.read(json.loads(found.text)) == found
    assert len(found.names) == len({*found.names}) == found.width
    backwards = dict(reversed([*GIVEN.items(), ("more", np.zeros(N))]))
    np.testing.assert_array_equal(found.pack("train", backwards), packed)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = dataclasses.replace(PLACE, run_dir=str(tmp_path_factory.mktemp("bundle") / "run"))
    return fit(CONFIG, Hyper(learning_rate=0.02), place, data=DATA)


def test_one_array_in_their_place_is_told_their_names(run):
    with pytest.raises(RequestError, match="was trained on .*: give these by their names"):
        run.predict(np.zeros((3, 2), np.float32))


def test_a_run_predicts_what_the_network_says_of_them(run):
    x = {"words": GIVEN["words"].astype("i4"), "picture": GIVEN["picture"].astype("f4") / 255,
         "age": GIVEN["age"].astype("f4")}
    wanted = jax.nn.softmax(Both().apply({"params": run.state.params}, x, False))
    np.testing.assert_allclose(run.predict(GIVEN), wanted, rtol=1e-5, atol=1e-6)
    again = load(run, CONFIG)
    assert again.columns == run.columns and again.input_shape == (23,)
    few = {name: value[:3] for name, value in GIVEN.items()}
    np.testing.assert_allclose(again.predict(few), wanted[:3], rtol=1e-5, atol=1e-6)
    assert evaluate(run, DATA, config=CONFIG)["accuracy"] == run.metrics["accuracy"]
    assert run.history[1]["loss"] < run.history[0]["loss"]
    longer = fit(dataclasses.replace(CONFIG, epochs=3), Hyper(learning_rate=0.02), resume=run,
                 data=DATA)
    assert len(longer.history) == 3


def test_an_update_is_plain_flaxs(tmp_path):
    """Of one batch, by sgd, from the network's own values."""
    config = dataclasses.replace(CONFIG, optimizer="sgd", epochs=1, batch_size=N)
    before, after = (fit(config, Hyper(learning_rate=rate), dataclasses.replace(
        PLACE, run_dir=str(tmp_path / str(rate))),
        data={"train": (GIVEN, Y), "validation": (GIVEN, Y)}).state.params for rate in (0.0, 0.1))
    x = {"words": GIVEN["words"], "picture": GIVEN["picture"].astype("f4") / 255,
         "age": GIVEN["age"].astype("f4")}

    def loss(params):
        said = jax.nn.log_softmax(Both().apply({"params": params}, x, True))
        return -said[np.arange(N), Y].mean()

    wanted = jax.tree.map(lambda p, g: p - jnp.float32(0.1) * g, before, jax.grad(loss)(before))
    for got, want in zip(jax.tree.leaves(after), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("how", ["float32", "bf16"])
def test_nnx_and_bf16_are_handed_them_too(how, tmp_path):
    """Codes above 256 are whole under bf16: of floats they are refused."""
    place = dataclasses.replace(PLACE, run_dir=str(tmp_path / "run"))
    config = dataclasses.replace(CONFIG, model=BothNNX, precision=how)
    run = fit(config, Hyper(learning_rate=0.02), place, data=DATA)
    other = GIVEN | {"words": (GIVEN["words"] + 1) % MOST}
    assert np.abs(run.predict(GIVEN) - run.predict(other)).max() > 1e-3
    if how == "bf16":
        floats = GIVEN | {"age": 1000.0 + np.arange(N)}
        with pytest.raises(RequestError, match="would round the inputs' whole numbers, up to 1,0"):
            fit(config, place=PLACE, data=(floats, Y))


class Sequence:
    def __init__(self, wrong=None):
        self.wrong = wrong

    def __len__(self):
        return N

    def __getitem__(self, index):
        x = {name: value[index] for name, value in GIVEN.items()}
        return (x | self.wrong if self.wrong and index == 7 else x), Y[index]


@pytest.mark.parametrize("stream", [False, True])
def test_a_sequence_of_mappings_is_the_same_set(stream):
    one, two = arrays.of((GIVEN, Y)), arrays.of(Sequence(), stream=stream)
    assert one.bundle == two.bundle
    np.testing.assert_array_equal(one.splits["train"].inputs, two.splits["train"].inputs[:])
    with pytest.raises(RequestError, match="example 7: its input words .* is not words"):
        arrays.of(Sequence({"words": np.zeros(3)}), stream=stream)


def test_a_streamed_run_has_the_resident_ones_bits(tmp_path):
    runs = [fit(CONFIG, Hyper(learning_rate=0.02), dataclasses.replace(
        PLACE, run_dir=str(tmp_path / str(stream)), stream=stream),
        data={"train": Sequence(), "test": Sequence()}) for stream in (False, True)]
    for one, two in zip(*(jax.tree.leaves(run.state.params) for run in runs), strict=True):
        np.testing.assert_array_equal(one, two)


def jitter(key, inputs):
    noise = jax.random.normal(key, inputs["age"].shape)
    return inputs | {"age": inputs["age"] + noise, "words": jnp.roll(inputs["words"], 1, axis=1)}


def missing(key, inputs):
    return {"age": inputs["age"]}


def halved(key, inputs):
    return inputs | {"words": inputs["words"] / 2}


def test_an_augmentation_of_ones_own_gets_a_dictionary(tmp_path):
    place = dataclasses.replace(PLACE, run_dir=str(tmp_path / "run"))
    run = fit(dataclasses.replace(CONFIG, augment=jitter), Hyper(), place, data=DATA)
    assert np.isfinite(run.history[-1]["loss"])
    with pytest.raises(RequestError, match="it gives 'age', not a dictionary of age"):
        fit(dataclasses.replace(CONFIG, augment=missing), place=PLACE, data=DATA)
    with pytest.raises(RequestError, match=r"it gives float32 .* for words \(6 × int32\)"):
        fit(dataclasses.replace(CONFIG, augment=halved), place=PLACE, data=DATA)
    with pytest.raises(RequestError, match="--mixup 0.2 makes other numbers of inputs"):
        fit(CONFIG, Hyper(mixup=0.2), place=PLACE, data=DATA)


def test_a_sweep_and_its_mean_take_them(tmp_path):
    found = sweep(CONFIG, {"learning_rate": (0.01, 0.02)}, data=DATA,
                  place=dataclasses.replace(PLACE, run_dir=str(tmp_path / "sweep")))
    each = [load(found.path / str(at), CONFIG).predict(GIVEN) for at in (0, 1)]
    np.testing.assert_allclose(load(found, CONFIG).predict(GIVEN), np.mean(each, 0), rtol=1e-5)


def test_an_export_a_summary_and_importances_have_their_names(run):
    predicted, shape = program.of(run)
    probed = program.probe(run)
    np.testing.assert_array_equal(probed[:, 17:], np.floor(probed[:, 17:]))
    packed = run.columns.encode(GIVEN)
    assert shape.shape[1:] == packed.shape[1:] == probed.shape[1:]
    np.testing.assert_allclose(predicted(packed), run.predict(GIVEN), rtol=1e-4, atol=1e-6)
    told = card.inputs(run)
    assert [field["first"] for field in told["fields"]] == [0, 1, 17] and json.dumps(told)
    host = begin(Place(device="cpu"), quiet=True)
    assert "Embed_0" in summary.summary(Request(CONFIG, Hyper(), data=(GIVEN, Y)), host)
    assert importance.grouped(run.columns, 23) == {
        "age": [0], "picture": [*range(1, 17)], "words": [*range(17, 23)]}


REFUSED = {
    "another length": ({"words": GIVEN["words"][:9]},
                       "words (6 × int32) of 9 examples is not words (6 × int32) of 48"),
    "NaN": ({"age": np.full(N, np.nan)}, "the inputs 'age' of 48 of its 48 examples are NaN"),
    "words of text": ({"age": np.full(N, "x")}, "its inputs 'age' are of type"),
    "one number for all": ({"age": np.float32(1)}, "its input 'age' has the shape ()"),
    "a name that is none": ({7: GIVEN["age"]}, "an input is named 7"),
    "a number beyond float32": ({"words": GIVEN["words"] + (1 << 25)}, "whole numbers beyond"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_input_is_refused(case):
    changed, words = REFUSED[case]
    with pytest.raises(RequestError, match=re.escape(words)) as found:
        arrays.of((GIVEN | changed, Y))
    assert "\n" not in str(found.value)


def test_other_inputs_than_the_runs_are_refused(run, tmp_path):
    half = GIVEN | {"words": GIVEN["words"] + 0.5}
    lacking = {name: value for name, value in GIVEN.items() if name != "age"}
    for given, words in (
            (lacking, "its inputs lack 'age'; give a mapping of age (float32), picture"),
            (half, "words (6 × float32) of 48 examples is not words (6 × int32)"),
            (GIVEN | {"picture": GIVEN["picture"] / 255}, "is not picture (4 × 4 × 1 × uint8)"),
            (pd.DataFrame({"age": [1.0]}), "are of type DataFrame")):
        with pytest.raises(RequestError, match=re.escape(words)):
            run.predict(given)
    with pytest.raises(RequestError, match="its inputs lack 'age'"):
        evaluate(run, {"test": (lacking, Y)}, config=CONFIG)
    with pytest.raises(RequestError, match="has one array as inputs, and the run .* from age"):
        evaluate(run, {"test": (np.zeros((4, 23)), Y[:4])}, config=CONFIG)
    with pytest.raises(RequestError, match="its inputs are one array, and another split's"):
        arrays.of({"train": (GIVEN, Y), "test": (np.zeros((4, 23)), Y[:4])})
    for model in ("mlp", "xgboost"):
        with pytest.raises(RequestError, match=f"model {model} takes one array"):
            fit(Config(model=model), place=PLACE, data=DATA)
    with pytest.raises(RequestError, match="inputs by their names, which train doesn't know"):
        data_for(CONFIG, DATA)
    with pytest.raises(RequestError, match="which no file is: predict in Python"):
        tell(Request(CONFIG, Hyper(), Place(run_dir=str(run.path))), "best", ["a.png"])
    plain = fit(Config(model=Tiny, epochs=1), place=dataclasses.replace(
        PLACE, run_dir=str(tmp_path / "plain")), data=(np.zeros((64, 3)), np.arange(64) % 2))
    with pytest.raises(RequestError, match="predict got a table or a mapping"):
        plain.predict({"a": np.zeros(3)})
    with pytest.raises(RequestError, match="has age .* the run in .* learned from one array"):
        evaluate(plain, {"test": (GIVEN, Y)}, config=Config(model=Tiny))


def test_a_file_of_them_that_was_changed_is_refused(run, tmp_path):
    (tmp_path / "columns.json").write_text(run.columns.text)
    told = {"columns": run.columns.digest}
    assert folder.columns(tmp_path, told) == run.columns
    (tmp_path / "columns.json").write_text(run.columns.text.replace("words", "world"))
    with pytest.raises(RequestError, match="it is not the one that the run wrote"):
        folder.columns(tmp_path, told)
    one = {"name": "a", "shape": [1], "dtype": "int32"}
    for twice in ([one, one], [one | {"shape": [1 << 40]}], [one | {"name": 3}]):
        with pytest.raises((ValueError, TypeError), match="its inputs are none|can't be"):
            bundle.read({"fields": twice})
    for wrong in ({"fields": []}, {"fields": [{"name": "a", "shape": [-1], "dtype": "int32"}]},
                  {"fields": [{"name": "a", "shape": [1], "dtype": "object"}]}, {"fields": 3}):
        with pytest.raises((ValueError, TypeError)):
            bundle.read(wrong)


def test_the_order_of_keys_ints_for_floats_and_other_keys_change_nothing(run):
    other = {name: GIVEN[name] for name in reversed(GIVEN)} | {"more": np.zeros(N)}
    floats = other | {"words": GIVEN["words"].astype("f4")}
    own = evaluate(run, {"test": (GIVEN, Y)}, config=CONFIG)["loss"]
    for given in (other, floats):
        np.testing.assert_array_equal(run.predict(given), run.predict(GIVEN))
        assert evaluate(run, {"test": (given, Y)}, config=CONFIG)["loss"] == own
    assert run.predict({name: value[:0] for name, value in GIVEN.items()}).shape == (0, 2)
    assert arrays.of((other, Y), bundle=run.columns).fingerprint == \
        arrays.of((GIVEN, Y)).fingerprint
    for ragged in ({"words": [[1, 2], [3]]}, {"words": [["a"] * 6] * N}):
        with pytest.raises(RequestError):
            run.predict(GIVEN | ragged)
        with pytest.raises(RequestError):
            arrays.of((GIVEN | ragged, Y))


def test_equal_sets_have_equal_learners():
    one, two = (Bundle.of("train", GIVEN) for _ in range(2))
    learners = [learner_of(CONFIG, 2, columns=each) for each in (one, two)]
    assert learners[0] == learners[1] and hash(learners[0]) == hash(learners[1])
